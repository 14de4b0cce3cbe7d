"""Lists images over the air with smpclient and sends one. Prints the seconds that it took and both lists as one JSON object.

The bus is that of DBUS_SYSTEM_BUS_ADDRESS.
"""

import asyncio
import json
import sys
import time

from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead
from smpclient.transport.ble import SMPBLETransport


async def images(client):
    answer = await client.request(ImageStatesRead())
    if not success(answer):
        raise SystemExit(f"refused: {answer}")
    return [{"slot": s.slot, "version": s.version, "active": bool(s.active)} for s in answer.images]


async def main(name, file):
    image = open(file, "rb").read()
    client = SMPClient(SMPBLETransport(), name, timeout_s=10)
    await client.connect()
    before = await images(client)
    began = time.monotonic()
    async for _ in client.upload(image):
        pass
    seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "before": before, "after": await images(client)}))
    await client.disconnect()


asyncio.run(main(*sys.argv[1:]))
