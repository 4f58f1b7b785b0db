"""Runs cells in one fresh kernel and prints what each wrote, as JSON.

In a process of its own, because jupyter_client leaves an event loop open, which our tests take for an error.
"""

import json
import sys

from jupyter_client.manager import start_new_kernel


def main():
    manager, client = start_new_kernel(kernel_name="python3")
    results = []
    for code in json.loads(sys.argv[1]):
        out = {"stdout": "", "stderr": ""}

        def note(message, out=out):
            if message["msg_type"] == "stream":
                out[message["content"]["name"]] += message["content"]["text"]

        client.execute_interactive(code, output_hook=note, timeout=60)
        results.append([out["stdout"].strip(), out["stderr"].strip()])
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    sys.stdout.write(json.dumps(results))


main()
