"""Sends an image over the air with smpclient and prints the seconds that it took. The bus is that of DBUS_SYSTEM_BUS_ADDRESS."""

import asyncio
import sys
import time

from smpclient import SMPClient
from smpclient.transport.ble import SMPBLETransport


async def main(name, file):
    image = open(file, "rb").read()
    client = SMPClient(SMPBLETransport(), name, timeout_s=10)
    await client.connect()
    began = time.monotonic()
    async for _ in client.upload(image):
        pass
    print(time.monotonic() - began)
    await client.disconnect()


asyncio.run(main(*sys.argv[1:]))
