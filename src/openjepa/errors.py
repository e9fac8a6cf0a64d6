"""The one exception for mistakes that the user can mend."""


class UserError(ValueError):
    """One sentence: what was given, what is allowed, what to do. The command line prints it and exits with 2."""
