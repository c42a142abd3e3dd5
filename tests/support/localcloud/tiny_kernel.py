"""A kernel of fifty bytes in Linux's boot format: it writes a line to the console and waits for the power button."""

from __future__ import annotations

GREETING = b"up\r\n"
_SECTOR_BYTES = 512
# Offsets of https://docs.kernel.org/arch/x86/boot.html: number of setup sectors, start, signature, version, load flags.
_SETUP_SECTORS, _START, _SIGNATURE, _VERSION, _LOAD_FLAGS = 0x1F1, 0x200, 0x202, 0x206, 0x211
_CODE = 0x250
_GREET = b"".join(bytes([0xB0, character, 0xEE]) for character in GREETING)  # mov al, CHARACTER; out dx, al
# PIIX4 of QEMU's machine "pc", as SeaBIOS sets it up: power management at 0x600, sleep with type 0 is power off.
_POWER_OFF = b"\xba\x04\x06\xb8\x00\x20\xef\xeb\xfe"  # mov dx, 0x604; mov ax, 0x2000; out dx, ax; jmp $
_AWAIT_BUTTON = (
    b"\xba\x02\x06\xb8\x00\x01\xef"  # mov dx, 0x602; mov ax, 0x100; out dx, ax: enable the button
    b"\xba\x00\x06\xed\xf6\xc4\x01\x74\xfa"  # mov dx, 0x600; in ax, dx; test ah, 1; jz in
)


def kernel(*, powers_off: bool = False) -> bytes:
    """Return the kernel.

    :param powers_off: power off at once instead of waiting for the button.
    """
    image = bytearray(4 * _SECTOR_BYTES)
    image[_SETUP_SECTORS] = 1
    image[_START : _START + 2] = bytes([0xEB, _CODE - _START - 2])
    image[_SIGNATURE : _SIGNATURE + 4] = b"HdrS"
    image[_VERSION : _VERSION + 2] = b"\x02\x02"
    image[_LOAD_FLAGS] = 1
    code = b"\xba\xf8\x03" + _GREET + (b"" if powers_off else _AWAIT_BUTTON) + _POWER_OFF  # mov dx, 0x3f8: serial port
    image[_CODE : _CODE + len(code)] = code
    return bytes(image)
