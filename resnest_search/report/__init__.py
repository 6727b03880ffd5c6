"""How a sweep is shown: in the terminal, as CSV, as plots and as one HTML page.

Everything here reads a record.Sweep. Import from the modules, so that the
terminal's table does not pay for the plots' libraries.
"""
