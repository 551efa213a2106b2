"""python3-stomp: sends with receipts, then receives and acknowledges each. Prints JSON lines.

Usage: python.py host port login passcode destination count
"""

import json
import queue
import sys

import stomp

SECONDS = 60


def say(**event):
    print(json.dumps(event), flush=True)


class Listener(stomp.ConnectionListener):
    def __init__(self):
        self.frames = queue.Queue()

    def on_connected(self, frame):
        say(event="connected", version=frame.headers["version"])

    def on_error(self, frame):
        self.frames.put(("ERROR", frame))

    def on_message(self, frame):
        self.frames.put(("MESSAGE", frame))

    def on_receipt(self, frame):
        self.frames.put(("RECEIPT", frame))

    def take(self, command):
        found, frame = self.frames.get(timeout=SECONDS)
        if found != command:
            sys.exit("%s came where %s was expected: %s %s" % (found, command, frame.headers, frame.body))
        return frame


host, port, login, passcode, destination, count = sys.argv[1:]
listener = Listener()
connection = stomp.Connection12([(host, int(port))])
connection.set_listener("", listener)
connection.connect(login, passcode, wait=True)
for n in range(int(count)):
    connection.send(destination, "message %d \u00e4" % n, receipt="send-%d" % n)
for n in range(int(count)):
    say(event="receipt", id=listener.take("RECEIPT").headers["receipt-id"])
connection.subscribe(destination, id="1", ack="client-individual")
for n in range(int(count)):
    message = listener.take("MESSAGE")
    say(event="message", body=message.body)
    connection.ack(message.headers["ack"])
connection.unsubscribe("1")
connection.disconnect(receipt="bye")
say(event="receipt", id=listener.take("RECEIPT").headers["receipt-id"])
