"""Prints packets and console lines as PyPI smp makes them, one JSON object a packet."""

import json

from smp import header, image_management, os_management, packet, settings_management

MESSAGES = {
    "echo": os_management.EchoWriteRequest(sequence=7, d="hello"),
    "parameters": os_management.MCUMgrParametersReadRequest(sequence=0),
    "mode": os_management.BootloaderInformationReadRequest(sequence=255, query="mode"),
    "info": os_management.OSApplicationInfoReadRequest(sequence=1, format="a"),
    "reset": os_management.ResetWriteRequest(sequence=2),
    "images": image_management.ImageStatesReadRequest(sequence=3),
    "test": image_management.ImageStatesWriteRequest(sequence=4, hash=bytes(range(32)), confirm=False),
    "upload-first": image_management.ImageUploadWriteRequest(
        sequence=5, off=0, data=b"\x3d\xb8\xf3\x96" * 30, image=0, len=70_000, sha=bytes(32)
    ),
    "upload-next": image_management.ImageUploadWriteRequest(sequence=6, off=66_000, data=bytes(range(256))),
    "read-setting": settings_management.ReadSettingRequest(sequence=8, name="net/telnet", max_size=64),
    "write-setting": settings_management.WriteSettingRequest(sequence=9, name="net/telnet", val=b"\x00"),
    "save": settings_management.SaveSettingsRequest(sequence=10),
}

for version in (header.Version.V1, header.Version.V2):
    for name, message in MESSAGES.items():
        again = type(message)(**{**message.model_dump(exclude={"header", "smp_data"}, exclude_none=True, exclude_unset=False), "version": version, "sequence": message.sequence})
        raw = again.BYTES
        lines = b"".join(packet.encode(raw, line_length=127))
        print(json.dumps({"name": name, "version": version.value, "packet": raw.hex(), "lines": lines.hex()}))
