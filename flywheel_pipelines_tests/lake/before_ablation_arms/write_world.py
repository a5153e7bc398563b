"""Write the archive beside this file; run with the commit that its README names, not with the present one."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from datetime import timedelta
from pathlib import Path

from flywheel_pipelines.cycles import cycle_start
from flywheel_pipelines.feedback.landing import land_file
from flywheel_pipelines_tests.written_world import SETTINGS, WEEKS, WrittenWorld

TICKETS = """ticket_id,created_at,segment,subject,text,channel,status
t1,2026-01-06T09:00:00Z,bakeries,Rota,The rota of Sunday is empty,e-mail,solved
t2,2026-01-14T10:30:00Z,garages,,Shifts are shown twice,,open
t3,not a day,garages,,Nobody can read this date,,open
"""
KEPT = ("defs", "leads.csv", "desk.csv", "data/lake", "data/outbox", "data/inbox")


def write_world(target: Path) -> None:
    """Three cycles of six briefs before a simulated audience, and a file of three tickets, one of them unreadable."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "world"
        feeds = {**SETTINGS["feeds"], "desk": {"kind": "tickets", "path": "desk/*.csv"}}
        world = WrittenWorld.make(root, feeds=feeds)
        world.play(3)
        tickets = root / "desk.csv"
        tickets.write_text(TICKETS, encoding="utf-8")
        land_file(world.lake, world.spec, "desk", tickets, recorded_at=cycle_start(WEEKS[2]) + timedelta(days=6))
        with tarfile.open(target, "w:xz") as archive:
            for name in KEPT:
                archive.add(root / name, name, filter=_nobody)


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    write_world(Path(sys.argv[1]))
