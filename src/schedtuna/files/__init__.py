"""The one way in which files are opened and written: nothing that others planted is followed."""

from schedtuna.files.consent import TRUST_OPTION, require_consent
from schedtuna.files.folder import Folder, read_all, write_all
from schedtuna.files.output import is_stream, require_replaceable, write_output, writing_output
from schedtuna.files.trust import accept, distrusted, privileged, require_trusted
from schedtuna.files.whole import (
    append_to,
    copy_file,
    make_folder,
    move,
    open_for_writing,
    open_to_read,
    remove,
    remove_folder,
    removing_empty,
    require_own,
    write_bytes,
    write_text,
    writing,
)

__all__ = [
    "TRUST_OPTION",
    "Folder",
    "accept",
    "append_to",
    "copy_file",
    "distrusted",
    "is_stream",
    "make_folder",
    "move",
    "open_for_writing",
    "open_to_read",
    "privileged",
    "read_all",
    "remove",
    "remove_folder",
    "removing_empty",
    "require_consent",
    "require_own",
    "require_replaceable",
    "require_trusted",
    "write_all",
    "write_bytes",
    "write_output",
    "write_text",
    "writing",
    "writing_output",
]
