"""The one family of errors that a user is meant to read."""


class BinTallyError(Exception):
    """Something a user can act on: one line that says what is wrong and what to do next."""


class DataError(BinTallyError):
    """Photographs, metadata or file lists that cannot be used."""


class ModelError(BinTallyError):
    """An artifact that is missing, damaged, or not one of ours."""


class SettingsError(BinTallyError):
    """An option, variable or hyperparameter that is unknown or out of range."""


class ServiceError(BinTallyError):
    """AWS, or localcloud in its place, refused or failed."""
