"""Sends an image with smpclient and prints the seconds that it took."""

import asyncio
import sys
import time

from smpclient import SMPClient
from smpclient.transport.serial import Auto, SMPSerialRawTransport, SMPSerialTransport


async def main(port, file, framing):
    image = open(file, "rb").read()
    transport = SMPSerialRawTransport() if framing == "raw" else SMPSerialTransport(Auto())
    client = SMPClient(transport, port, timeout_s=10)
    await client.connect()
    began = time.monotonic()
    async for _ in client.upload(image):
        pass
    print(time.monotonic() - began)
    await client.disconnect()


asyncio.run(main(*sys.argv[1:]))
