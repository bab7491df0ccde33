"""The API in process: `elanus.open(folder)` and what it returns; a thin face on `service/`, all numpy and Arrow."""
