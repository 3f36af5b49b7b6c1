"""Names that no scanner gives its files, as they may be in a bucket; a folder holds fewer of them."""

from __future__ import annotations

HOSTILE = (
    "../../../etc/A20_2024-03-06_06H00M.png",
    "..\\..\\A20_2024-03-06_06H00M.png",
    "A20_2024-03-06_06H00M.png/../../x.png",
    "A20_2024-03-06_06H00M\n\r\x1b[2J\x00.png",
    "A20_2024-03-06_06H00M" + "x" * 5_000 + ".png",
    "A20_2024-03-06_06H00M." + "p" * 5_000,
    "A20_2024-03-06_06H00M\udcff\udcfe.png",
    "A20_2024-13-45_99H99M.png",
    "A20_\u202egnp.M00H60_60-30-4202.png",
    " .png",
    "-rf.png",
    "~.png.png",
    "$(touch x).png",
)
