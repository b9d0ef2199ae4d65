"""Whether a file lies on a disk of the network, where SQLite's log and its locks do not hold."""

from __future__ import annotations

from pathlib import Path

from warehouse import InputError

_MOUNTS = Path("/proc/self/mountinfo")  # of Linux; elsewhere nothing is known
#: Kinds of file systems that several machines may write to; what follows ``fuse.`` names a program.
NETWORK_KINDS = {
    *(
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
    ),
    *("orangefs", "pvfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.goofys", "fuse.gcsfuse"),
    *(
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.cephfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.davfs2",
        "fuse.blobfuse2",
    ),
    *("fuse.mountpoint-s3", "fuse.mfs", "wekafs", "panfs"),
}


def refuse_network_disk(path: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a place for the ledger's file on a disk of the network.

    Raises:
        InputError: it is one.
    """
    found = find_mount(path, mounts)
    if found is not None and found[1] in NETWORK_KINDS:
        where, kind = found
        raise InputError(
            f"it lies on a disk of the network ({kind} at {where}), where two writers could spoil it",
            where=f"ledger {path}",
            fix="put the home on a disk of this machine, or the ledger on PostgreSQL (LEEROO_LEDGER)",
        )


def find_mount(path: Path, mounts: Path = _MOUNTS) -> tuple[str, str] | None:
    """Return where the file system of a path is mounted, and its kind; None where nobody tells."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, best = path.absolute().resolve(), None
    for line in lines:
        fields, _, after = line.partition(" - ")
        point = fields.split()[4].encode("latin-1", "backslashreplace").decode("unicode_escape")  # \\040
        if place.is_relative_to(point) and (best is None or len(point) >= len(best[0])):
            best = point, after.split()[0]
    return best
