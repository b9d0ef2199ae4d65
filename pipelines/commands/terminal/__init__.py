"""What commands print with: one terminal, through which every table goes."""
