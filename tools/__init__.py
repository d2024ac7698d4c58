"""What the project is made with: its documentation, the quick-start backbone, the rooms' order."""
