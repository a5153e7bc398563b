"""Small PDFs written by hand: text on pages, and the ways in which such a file can be broken or hostile."""

from __future__ import annotations

import zlib
from collections.abc import Sequence


def pdf_of(pages: Sequence[Sequence[str]], *, packed: bool = True, trailer: str = "") -> bytes:
    """A PDF (1.4) with these lines on its pages, in Helvetica; letters of Latin-1 alone. Equal lines, equal bytes."""
    return pdf_with([_shown(lines) for lines in pages], packed=packed, trailer=trailer)


def pdf_with(contents: Sequence[bytes], *, packed: bool = True, trailer: str = "") -> bytes:
    """A PDF whose pages have these content streams."""
    font = 3 + 2 * len(contents)
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(contents)}>>".encode(),
    ]
    for number, content in enumerate(contents):
        data = zlib.compress(content, 9) if packed else content
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents {4 + 2 * number} 0 R"
            f"/Resources<</Font<</F1 {font} 0 R>>>>>>".encode()
        )
        how = b"/Filter/FlateDecode" if packed else b""
        objects.append(b"<<%b/Length %d>>\nstream\n%b\nendstream" % (how, len(data), data))
    objects.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    return _assembled(objects, trailer)


def _shown(lines: Sequence[str]) -> bytes:
    drawn = ["BT /F1 11 Tf 15 TL 56 780 Td"]
    for line in lines:
        escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        drawn.append(f"({escaped}) Tj T*" if line else "T*")
    return "\n".join([*drawn, "ET"]).encode("latin-1")


def _assembled(objects: Sequence[bytes], trailer: str) -> bytes:
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    made += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    start = made.rindex(b"xref\n0 ")
    return made + f"trailer\n<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n".encode()
