from pathlib import Path

from PIL import Image

from bench.tables import write_report

SIZES = ("500 x 375", "4032 x 3024")
RATES = {"ours": 80.0, "torchserve": 8.0, "a, slow": 10.0, "a, fast": 20.0, "b": 16.0, "no server": 100.0}


def _result() -> dict[str, object]:
    """Three rounds, of which the first is half and the last is twice as good as the median."""
    rounds = []
    for factor in (0.5, 1, 2):
        for size in SIZES:
            for name, rate in RATES.items():
                many = {"rate": factor * rate, "p50": 0.1, "p99": 0.2, "share": 0.01 * factor}
                one = {"rate": 1, "p50": 1 / rate, "p99": 2 / rate, "share": 0.0}
                rounds.append({"size": size, "name": name, "many": many, **({} if "no" in name else {"one": one})})
    return {
        "rounds": rounds,
        "families": {"ours": "ours", "torchserve": "torchserve", "a, slow": "a", "a, fast": "a", "b": "b"},
        "baseline": "torchserve",
        "ceilings": {"ours": "no server"},
        "mixed": [{"p50 alone": 0.01}],
    }


def test_medians_with_their_spread_and_ratios_to_torchserve_to_the_best_peer_and_to_the_loop(tmp_path: Path) -> None:
    text = write_report(_result(), tmp_path)
    assert text + "\n" == (tmp_path / "bench.md").read_text()
    assert "| ours | 80.0 (40.0 to 160.0) | 80.0 (40.0 to 160.0) |" in text
    assert "| ours / torchserve | 10.00 | 10.00 |" in text
    assert "| ours / the best other peer | 4.00 (a) | 4.00 (a) |" in text
    assert "| ours / its ceiling | 0.80 | 0.80 |" in text
    assert "| a, fast | 50.0 / 100.0 | 50.0 / 100.0 |" in text
    assert "| ours / a | 0.25 / 0.25 | 0.25 / 0.25 |" in text
    assert "| p50 alone | 10.0 (10.0 to 10.0) |" in text
    assert "wrk took 2% of one core at the most." in text
    with Image.open(tmp_path / "bench.png") as plot:
        assert plot.width > 1000


def test_without_peers_only_the_loop_is_compared(tmp_path: Path) -> None:
    result = _result()
    result["families"] = {"ours": "ours"}
    text = write_report(result, tmp_path)
    assert "| ours / its ceiling | 0.80 | 0.80 |" in text
    assert "torchserve" not in text
    assert "best other peer" not in text
