"""The command ``uniformaly``: detectors for people who know no Kedro, from a terminal."""
