"""The client's side of one SCRAM exchange, line by line: scram.py USER PASSWORD."""
import sys

from scramp import ScramClient, ScramException

client = ScramClient(['SCRAM-SHA-256'], sys.argv[1], sys.argv[2])
print(client.get_client_first(), flush=True)
try:
    client.set_server_first(sys.stdin.readline().strip())
    print(client.get_client_final(), flush=True)
    final = sys.stdin.readline().strip()
    if final:
        client.set_server_final(final)
        print('verified', flush=True)
except ScramException as error:
    print(f'refused: {error}', flush=True)
