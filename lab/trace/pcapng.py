"""Write the captured frames as a pcapng file, for Wireshark and tshark.

Wireshark can decode FastCGI but has no default port for it, and a chain's ports change. So the
file's comment (Wireshark: Statistics, Capture File Properties) is the command that decodes it.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dpkt import pcapng

from lab.trace.segments import Captured

_NANOSECONDS: Final = 9  # if_tsresol: times are in units of 10^-9 seconds
_LINKTYPE_ETHERNET: Final = 1
_WHOLE: Final = 1 << 18


def write(path: Path, captured: Captured, fastcgi_ports: Sequence[int]) -> None:
    """Write the frames of a capture, with times in nanoseconds."""
    interfaces = sorted({frame.interface for frame in captured.frames}) or ["lo"]
    comment = f"chainlab: lab trace. To see FastCGI: {command(path, fastcgi_ports)}"
    section = pcapng.SectionHeaderBlockLE(
        opts=[_option(pcapng.PCAPNG_OPT_COMMENT, comment.encode()), pcapng.PcapngOptionLE()]
    )
    with path.open("wb") as file:
        file.write(bytes(section))
        for interface in interfaces:
            file.write(bytes(_interface(interface)))
        for frame in captured.frames:
            block = pcapng.EnhancedPacketBlockLE(
                iface_id=interfaces.index(frame.interface),
                ts_high=frame.time >> 32,
                ts_low=frame.time & 0xFFFFFFFF,
                caplen=len(frame.data),
                pkt_len=len(frame.data),
                pkt_data=frame.data,
            )
            file.write(bytes(block))


def command(path: Path, fastcgi_ports: Sequence[int], program: str = "wireshark") -> str:
    """Return the command that opens the file with FastCGI decoded."""
    decode = [option for port in fastcgi_ports for option in ("-d", f"tcp.port=={port},fcgi")]
    return shlex.join([program, "-r", str(path), *decode])


def _interface(name: str) -> pcapng.InterfaceDescriptionBlockLE:
    options = [
        _option(pcapng.PCAPNG_OPT_IF_NAME, name.encode()),
        _option(pcapng.PCAPNG_OPT_IF_TSRESOL, bytes([_NANOSECONDS])),
        pcapng.PcapngOptionLE(),
    ]
    return pcapng.InterfaceDescriptionBlockLE(
        linktype=_LINKTYPE_ETHERNET, snaplen=_WHOLE, opts=options
    )


def _option(code: int, data: bytes) -> pcapng.PcapngOptionLE:
    return pcapng.PcapngOptionLE(code=code, data=data)
