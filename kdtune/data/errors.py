"""What is raised about data that is there but not usable."""


class DataError(ValueError):
    """Data that breaks a rule; the message names the file and, where there is one, the row.

    Data that is not there at all is a ``FileNotFoundError`` instead.
    """
