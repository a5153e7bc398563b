"""The text of a PDF's pages, read in a process of its own: `python pdf_worker.py FILE`, JSON on standard output.

A program of its own: PDF is a format in which a few bytes can ask for hours and gigabytes, and no check beforehand
finds them all. It limits itself before it looks at the file, and imports nothing of this package. Not here: what is
made of the text (`pdf`).
"""

from __future__ import annotations

import json
import logging
import sys

MOST_MEMORY, MOST_SECONDS = 1 << 30, 30
"""Bytes of address space and seconds of processor time."""
MOST_PAGES, MOST_CHARACTERS = 1_000, 5_000_000


def main(path: str) -> dict[str, object]:
    """`pages`, one text each, or `refused` with the reason."""
    _limit_myself()
    # Here and not above: not before the limits hold.
    import pypdf
    import pypdf.errors

    logging.disable(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(path, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            return {"refused": "is encrypted. Hand in a copy without a password."}
        if len(reader.pages) > MOST_PAGES:
            return {"refused": f"has {len(reader.pages):,} pages, at most {MOST_PAGES:,} are read. Split it."}
        pages: list[str] = []
        for page in reader.pages:
            pages.append(page.extract_text())
            if sum(map(len, pages)) > MOST_CHARACTERS:
                return {"refused": f"holds more than {MOST_CHARACTERS:,} characters of text. Split it."}
    except pypdf.errors.DependencyError:
        return {"refused": "is encrypted. Hand in a copy without a password."}
    except (MemoryError, RecursionError, pypdf.errors.LimitReachedError) as error:
        return {
            "refused": f"asks for more than a document needs ({type(error).__name__}). Look at where it comes from."
        }
    # A broken file breaks pypdf in whatever way it likes, with errors of every kind.
    except Exception as error:
        return {"refused": f"is broken ({type(error).__name__}: {str(error)[:100]}). Export or print it to PDF again."}
    return {"pages": pages}


def _limit_myself() -> None:
    try:
        import resource
    except ImportError:
        # Windows has no such limits; the time that whoever started this process waits holds there, too.
        return
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 1))


if __name__ == "__main__":
    sys.stdout.buffer.write(json.dumps(main(sys.argv[1])).encode())
