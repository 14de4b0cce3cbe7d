"""Drives one device with smpclient: reads it, sends an image, tries it, keeps it. Prints what it saw as one JSON object."""

import asyncio
import hashlib
import json
import sys

from smpclient import SMPClient
from smpclient.exceptions import SMPClientException
from smpclient.generics import error, success
from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite, ImageErase
from smpclient.requests.os_management import (
    BootloaderInformationRead,
    DateTimeRead,
    EchoWrite,
    MCUMgrParametersRead,
    OSApplicationInfoRead,
    ResetWrite,
)
from smpclient.requests.settings_management import ReadSetting, SaveSettings, WriteSetting
from smpclient.transport.serial import Auto, SMPSerialTransport


def need(answer):
    if not success(answer):
        raise SystemExit(f"refused: {answer}")
    return answer


def rows(states):
    return [
        {
            "slot": s.slot,
            "version": s.version,
            "hash": bytes(s.hash).hex() if s.hash else None,
            "active": bool(s.active),
            "pending": bool(s.pending),
            "confirmed": bool(s.confirmed),
        }
        for s in states.images
    ]


async def connected(port):
    for _ in range(100):
        client = SMPClient(SMPSerialTransport(Auto()), port, timeout_s=3)
        try:
            await client.connect()
            need(await client.request(EchoWrite(d="back?")))
            return client
        except (SMPClientException, OSError, TimeoutError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)
    raise SystemExit("the device did not come back")


async def main(port, image_file):
    image = open(image_file, "rb").read()
    out = {}
    client = await connected(port)
    out["echo"] = need(await client.request(EchoWrite(d="hello"))).r
    params = need(await client.request(MCUMgrParametersRead()))
    out["buffers"] = [params.buf_size, params.buf_count]
    out["info"] = need(await client.request(OSApplicationInfoRead(format="sv"))).output
    out["bootloader"] = need(await client.request(BootloaderInformationRead())).bootloader
    # smp 4.2.0 cannot read Zephyr's answer to query=mode (it wants `bootloader` in it too), so it is not asked here.
    out["datetime"] = need(await client.request(DateTimeRead())).datetime
    out["before"] = rows(need(await client.request(ImageStatesRead())))
    out["telnet"] = need(await client.request(ReadSetting(name="net/telnet"))).val.hex()
    need(await client.request(WriteSetting(name="net/telnet", val=b"\x01")))
    need(await client.request(SaveSettings()))
    out["telnet-after"] = need(await client.request(ReadSetting(name="net/telnet"))).val.hex()
    unknown = await client.request(ReadSetting(name="no/such"))
    out["unknown-is-error"] = bool(error(unknown))

    offsets = [off async for off in client.upload(image)]
    out["offsets-grow"] = offsets == sorted(offsets) and offsets[-1] == len(image)
    staged = rows(need(await client.request(ImageStatesRead())))
    out["staged"] = staged
    new = bytes.fromhex(next(s["hash"] for s in staged if s["slot"] == 1))
    out["pending"] = rows(need(await client.request(ImageStatesWrite(hash=new, confirm=False))))
    refused = await client.request(ImageErase(slot=1), timeout_s=10)
    out["erase-of-pending-is-error"] = bool(error(refused))
    need(await client.request(ResetWrite()))
    await client.disconnect()
    await asyncio.sleep(1.5)
    client = await connected(port)
    out["on-test"] = rows(need(await client.request(ImageStatesRead())))
    need(await client.request(ImageStatesWrite(confirm=True)))
    out["kept"] = rows(need(await client.request(ImageStatesRead())))
    out["sha"] = hashlib.sha256(image).hexdigest()
    await client.disconnect()
    print(json.dumps(out))


asyncio.run(main(sys.argv[1], sys.argv[2]))
