"""Reads a kit folder with python-tuf from a trusted root: refresh, then every target through its delegations. Prints one JSON object."""

import hashlib
import json
import pathlib
import shutil
import sys
import tempfile

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class Folder(FetcherInterface):
    def _fetch(self, url):
        path = pathlib.Path(url.removeprefix("file://"))
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def main(kit, root, names):
    kit = pathlib.Path(kit)
    with tempfile.TemporaryDirectory() as dir:
        out = pathlib.Path(dir) / "targets"
        out.mkdir()
        shutil.copy(root, pathlib.Path(dir) / "root.json")
        updater = Updater(
            metadata_dir=dir,
            metadata_base_url=f"file://{kit}/metadata/",
            target_dir=str(out),
            target_base_url=f"file://{kit}/targets/",
            fetcher=Folder(),
            config=UpdaterConfig(prefix_targets_with_hash=True),
            bootstrap=pathlib.Path(root).read_bytes(),
        )
        updater.refresh()
        found = {}
        for name in names:
            info = updater.get_targetinfo(name)
            if info is None:
                found[name] = None
                continue
            path = updater.download_target(info, str(out / hashlib.sha256(name.encode()).hexdigest()))
            found[name] = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        trusted = Metadata.from_file(str(pathlib.Path(dir) / "root.json"))
        print(json.dumps({"targets": found, "root": trusted.signed.version}))


main(sys.argv[1], sys.argv[2], sys.argv[3:])
