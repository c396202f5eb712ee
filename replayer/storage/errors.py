"""What goes wrong between replayer and its object storage. Messages name hashes and directories, never content.

StorageError (a core.errors.ReplayerError)
├── InvalidReference     a reference that is no artefact URI, or contradicts itself
├── ArtefactMissing      nothing is stored under that hash
├── ArtefactDamaged      what is stored is not what the hash says
├── ArtefactTooLarge     over the store's bound
└── StoreUnusable        the directory cannot be read or written
"""

from __future__ import annotations

from replayer.core.errors import ReplayerError


class StorageError(ReplayerError):
    """Something between replayer and its object storage; the message is for the person at the keyboard."""


class InvalidReference(StorageError):
    """The reference is not one this store could have given out."""


class ArtefactMissing(StorageError):
    """The bytes are not here: never stored, erased, or kept in another directory."""


class ArtefactDamaged(StorageError):
    """The stored bytes do not have the size or the SHA-256 of the reference."""


class ArtefactTooLarge(StorageError):
    """The bytes are over the store's bound."""


class StoreUnusable(StorageError):
    """The directory cannot be used; the message says why and what to do."""
