# Checks an Aseptic report: python3 check.py report.html [KEY]
# RFC 8785 (JSON), RFC 6962 (Merkle tree), C2SP tlog-proof and signed-note, RFC 8032 (Ed25519).
import base64, hashlib, html.parser, json, sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

class Page(html.parser.HTMLParser):
    blocks, inside = (), False
    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script" and dict(attrs).get("id") == "report"
        if self.inside: self.blocks += ("",)
    def handle_data(self, data):
        if self.inside: self.blocks = self.blocks[:-1] + (self.blocks[-1] + data,)
    def handle_endtag(self, tag): self.inside = False

def fail(why): sys.exit("NOT PROVED: " + why)

def sha(*parts): return hashlib.sha256(b"".join(parts)).digest()

def add(a, b):
    (x, y), (u, v) = a, b
    k = D * x * u * y * v % P
    return ((x * v + y * u) * pow(1 + k, -1, P) % P, (y * v + x * u) * pow(1 - k, -1, P) % P)

def times(n, point):
    out = (0, 1)
    while n:
        if n & 1: out = add(out, point)
        point, n = add(point, point), n >> 1
    return out

def point(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square: x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != square or (x == 0 and sign): fail("a key or signature is no point")
    return (P - x if x & 1 != sign else x, y)

def signed(key, message, signature):
    s = int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or s >= L: return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    base = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    return times(s, base) == add(point(signature[:32]), times(h, point(key)))

def root(index, size, leaf, path):
    # RFC 9162, 2.1.3.2.
    at, last, node = index, size - 1, leaf
    for other in path:
        if last == 0: fail("the path is too long")
        if at & 1 or at == last:
            node = sha(b"\1", other, node)
            while not at & 1 and at: at, last = at >> 1, last >> 1
        else:
            node = sha(b"\1", node, other)
        at, last = at >> 1, last >> 1
    if last: fail("the path is too short")
    return node

page = Page()
page.feed(open(sys.argv[1], encoding="utf-8", newline="").read())
if len(page.blocks) != 1: fail("the page holds %d reports" % len(page.blocks))
report = json.loads(page.blocks[0])
proof = report.pop("proof") or fail("the report carries no proof")
key = sys.argv[2] if len(sys.argv) > 2 else proof["key"]

canonical = json.dumps(report, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
digest = hashlib.sha256(canonical.encode()).hexdigest()
bound = json.loads(proof["entry"])["body"].get("report-sha256")
if bound not in (None, digest): fail("the entry is of another report")

head, note = proof["proof"].split("\n\n", 1)
header, index, *path = [line for line in head.split("\n") if not line.startswith("extra ")]
index = int(index.removeprefix("index "))
text, signatures = note.split("\n\n", 1)
origin, size, top = (text + "\n").split("\n")[:3]
if header != "c2sp.org/tlog-proof@v1" or not 0 <= index < int(size): fail("no tlog-proof")
found = root(index, int(size), sha(b"\0", proof["entry"].encode()), [base64.b64decode(p) for p in path])
if base64.b64encode(found).decode() != top: fail("the entry is not in the log")

name, number, material = key.strip().split("+", 2)
material = base64.b64decode(material)
if material[:1] != b"\1" or sha(name.encode(), b"\n", material)[:4].hex() != number: fail("no Ed25519 key of a log")
wanted = "\u2014 " + name + " "
blobs = [base64.b64decode(s[len(wanted):]) for s in signatures.split("\n") if s.startswith(wanted)]
blobs = [b[4:] for b in blobs if b[:4].hex() == number]
if name != origin or not any(signed(material[1:], (text + "\n").encode(), b) for b in blobs): fail("the log's signature is wrong")

print("PROVED: entry %d of %s in log %s" % (index, size, origin))
print("covers the whole report" if bound else "covers only the entry: it carries no digest of the report")
if len(sys.argv) < 3: print("with the key from the page itself: compare it with the hospital's: " + key.strip())
