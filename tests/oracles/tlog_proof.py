"""Checks a C2SP tlog-proof of an audit entry with nothing of Aseptic: PREFIX.entry.json, PREFIX.tlog-proof, PREFIX.vkey."""

import base64
import hashlib
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def main(prefix):
    entry = pathlib.Path(prefix + ".entry.json").read_bytes()
    proof = pathlib.Path(prefix + ".tlog-proof").read_text()
    name, key_id, material = pathlib.Path(prefix + ".vkey").read_text().strip().split("+", 2)
    material = base64.b64decode(material)
    assert material[0] == 1, "not an ed25519 key"
    want = hashlib.sha256(name.encode() + b"\n" + material).digest()[:4]
    assert bytes.fromhex(key_id) == want, "the key id does not fit the key"

    head, note = proof.split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    index = int(lines[1].removeprefix("index "))
    path = [base64.b64decode(line) for line in lines[2:]]
    text, signatures = note.split("\n\n", 1)
    origin, size, root = (text + "\n").split("\n")[:3]
    size, root = int(size), base64.b64decode(root)
    assert origin == name, "the checkpoint is of another log"
    for line in signatures.strip().split("\n"):
        dash, who, blob = line.split(" ")
        blob = base64.b64decode(blob)
        if dash == "\u2014" and who == name and blob[:4] == want:
            Ed25519PublicKey.from_public_bytes(material[1:]).verify(blob[4:], (text + "\n").encode())
            break
    else:
        raise AssertionError("no signature of the log's key")

    # RFC 9162, 2.1.3.2.
    at, last, node = index, size - 1, hashlib.sha256(b"\0" + entry).digest()
    assert index < size
    for other in path:
        assert last > 0, "the path is too long"
        if at % 2 == 1 or at == last:
            node = hashlib.sha256(b"\1" + other + node).digest()
            while at % 2 == 0 and at != 0:
                at, last = at // 2, last // 2
        else:
            node = hashlib.sha256(b"\1" + node + other).digest()
        at, last = at // 2, last // 2
    assert last == 0 and node == root, "the entry is not in the log"
    print(f"entry {index} of {size}")


main(sys.argv[1])
