"""What the operating system refuses gets a name, and the right one of the three ways."""

from __future__ import annotations

import errno
import os

import pytest

from dsa110_contimg.errors import InputError, TransientError, name_os_error

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (errno.ENOSPC, TransientError, "disk_full"),
        (errno.EDQUOT, TransientError, "disk_full"),
        (errno.EMFILE, TransientError, "too_many_open_files"),
        (errno.EIO, TransientError, "os_error"),
        (errno.EACCES, InputError, "target_not_writable"),
        (errno.EROFS, InputError, "target_not_writable"),
        (errno.ENOTDIR, InputError, "target_not_writable"),
    ],
)
def test_refusals_of_the_system_are_named(code, kind, reason):
    error = OSError(code, os.strerror(code), "/data/elsewhere")
    named = name_os_error(error, "cannot write /data/g.ms", denied="target_not_writable")
    assert type(named) is kind
    assert named.reason == reason
    assert named.message == f"cannot write /data/g.ms: {os.strerror(code)} (/data/elsewhere)"


def test_file_in_the_sentence_is_not_named_twice():
    error = OSError(errno.ENOSPC, "No space left on device", "/data/g.ms")
    named = name_os_error(error, "cannot write /data/g.ms")
    assert str(named) == "cannot write /data/g.ms: No space left on device (free space there)"
