"""What a wrong configuration raises."""


class ConfigError(ValueError):
    """A configuration that breaks a rule: the message names rule, value and remedy."""
