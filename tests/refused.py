"""System calls that the kernel answers by an error, as the profile of a container has it (seccomp)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping

_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
"""Of the kernel's filters: load a word, skip by comparison, end (linux/bpf_common.h)."""
_ERROR, _ALLOW = 0x00050000, 0x7FFF0000
_NO_NEW_PRIVILEGES, _SET_FILTER, _FILTER = 38, 22, 2
"""Of prctl (linux/prctl.h, linux/seccomp.h)."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(calls: Mapping[int, int]) -> None:
    """Let system calls fail from now on, in this process and in all that it starts.

    Args:
        calls: Error by number of the call, which is the processor's own.

    Raises:
        OSError: If the kernel takes no filter.
    """
    steps = [(_LOAD, 0, 0, 0)]
    for number, error in calls.items():
        steps += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    kernel = ctypes.CDLL(None, use_errno=True)
    for words in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_FILTER, _FILTER, ctypes.byref(program))):
        if kernel.prctl(*words):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
