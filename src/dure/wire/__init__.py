"""The one schema of requests, responses and streamed messages, shared by the server and every client."""
