"""The one error a user can mend."""


class InputError(ValueError):
    """Something the user gave cannot be used: a parameter, a path, an image or a checkpoint.

    The message is one line that names the file or key and says what to do; the command line
    prints it without a traceback.
    """
