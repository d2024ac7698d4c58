"""What people look at: figures, galleries, the report, the terminal."""
