import asyncio
import threading

import pytest

from eotune.search.server.gate import BusyError, Gate, OneAtATime


def test_work_waits_in_a_queue_and_the_next_is_sent_away():
    async def several():
        gate, go = Gate(workers=1, waiting=1), threading.Event()
        jobs = [asyncio.ensure_future(gate.run(go.wait, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await gate.run(int)
        go.set()
        assert await asyncio.gather(*jobs) == [True, True]
        return await gate.run(int, "7")

    assert asyncio.run(several()) == 7


def test_an_error_frees_its_place():
    async def several():
        gate = Gate(workers=1, waiting=0)
        for _ in range(3):
            with pytest.raises(ValueError, match="invalid literal"):
                await gate.run(int, "x")

    asyncio.run(several())


def test_a_full_queue_is_told_to_the_client(client, monkeypatch):
    async def full(self, work, *arguments):
        raise BusyError

    connected = client()
    monkeypatch.setattr(Gate, "run", full)
    answer = connected.post("/api/search", json={"text": "a"})
    assert (answer.status_code, answer.headers["retry-after"], list(answer.json())) == (503, "1", ["error"])
    assert connected.get("/healthz").status_code == 200


def test_an_encoder_embeds_for_one_thread_at_a_time():
    class Encoder:
        inside = most = 0

        def embed_texts(self, texts):
            self.inside += 1
            self.most = max(self.most, self.inside)
            pause.wait(0.01)
            self.inside -= 1
            return texts

        embed_images = embed_texts

    pause, encoder = threading.Event(), Encoder()
    shared = OneAtATime(encoder)
    threads = [threading.Thread(target=kind, args=(["a"],)) for kind in (shared.embed_texts, shared.embed_images) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert encoder.most == 1
