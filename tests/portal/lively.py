"""A platform in the middle of its day, for pictures and accessibility: every kind of row at once."""

import base64
import struct
import zlib

from dure.state.store.blobs import open_blobs
from tests.portal.conftest import ADA, ALICE, BOB, until

TQDM = "".join(f"\repoch {n}/10: {n * 10:3d}%|{'█' * n}{' ' * (10 - n)}| loss={1 / n:.3f}" for n in range(1, 11))


def png(width=160, height=60):
    rows = b"".join(b"\0" + b"".join(bytes((40 + x, 120 + y, 160)) for x in range(width)) for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(whole).decode()


def make_lively(plane):
    """Return the jobs by what they show: ended, failed, running, half, cloud, waiting, others."""
    plane.notices.append(
        "All workspaces share one operating-system account: for groups whose members trust each other."
    )
    jobs = {}
    jobs["ended"] = plane.running(ALICE, "digits: train the classifier", "silver")
    plane.prints(
        jobs["ended"],
        {"type": "stream", "name": "stdout", "text": "\x1b[1mfitting\x1b[0m 1797 digits \x1b[32mok\x1b[0m\n"},
        {"type": "stream", "name": "stderr", "text": TQDM + "\n"},
        {"type": "display_data", "data": {"image/png": png(), "text/plain": "<Figure size 160x60>"}},
        {"type": "execute_result", "data": {"text/html": "<b>bold</b>", "text/plain": "accuracy 0.974"}},
        {"type": "stream", "name": "stdout", "text": "<script>alert(1)</script>\n"},
    )
    digest = open_blobs(plane.blobs.access("vision")).put(b"\x00weights")
    artifacts = [{"path": "out/model weights.pt", "size_bytes": 8, "digest": digest}]
    plane.end(jobs["ended"], {"status": "ok", "artifacts": artifacts})
    jobs["failed"] = plane.running(ALICE, "In[12]", "bronze")
    plane.prints(
        jobs["failed"],
        {"type": "error", "ename": "ValueError", "evalue": "no such label",
         "traceback": ["\x1b[31mValueError\x1b[39m: no such label 11"]},
    )  # fmt: skip
    plane.end(jobs["failed"], {"status": "error", "error": {"ename": "ValueError", "evalue": "no such label"}})
    jobs["running"] = plane.running(ALICE, "resnet50 on the lab's photos", "gold")
    jobs["half"] = plane.running(ADA, "embeddings", "silver", gpus=0.5)
    jobs["others"] = plane.running(BOB, "whisper", "bronze")
    for number in range(3):
        jobs[f"waiting{number}"] = plane.submit((ALICE, ADA, ALICE)[number], f"sweep {number}", "gold")
    jobs["others_waiting"] = plane.submit(BOB, "secret of the speech team", "gold")
    until(lambda: plane.queries.queue(ALICE, "en").waiting[0].verdict, "the verdict")
    return jobs
