"""How long the explorer takes to answer: 50 changes by a reader, from the click to a page that is laid out again.

    python benchmarks/explorer.py explorer.html

The file is what ``python -m ifcdsr_core export`` wrote. Prints the median and the worst, in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CHANGES = """async () => {
  const root = document.getElementById("explorer"), times = [];
  const part = (selector) => root.querySelector(selector);
  const click = (selector) => () => part(selector).click();
  const slide = (name, value) => () => {
    part(`[data-knob="${name}"]`).value = value;
    part(`[data-knob="${name}"]`).dispatchEvent(new Event("input"));
  };
  const round = [
    click('[data-role="case-next"]'), click('[data-role="shelf"] li:nth-child(7) button'), slide("alpha", 0.5),
    click('[data-role="top-y"] .explorer-put'), click('[data-place="1"] button'), click('[data-role="later"]'),
    click('[data-role="remove"]'), slide("temperature", 0.2), click('[data-role="reset"]'),
    click('[data-role="case-next"]'),
  ];
  for (let change = 0; change < 50; change++) {
    const start = performance.now();
    round[change % round.length]();
    root.getBoundingClientRect(); // lays it out
    times.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  return times;
}"""


def main(page: Path) -> None:
    from browser import browser, opened

    with browser() as running, opened(running, page.resolve()) as shown:
        times = shown.evaluate(CHANGES)
    print(f"{len(times)} changes: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("error: name the file that `python -m ifcdsr_core export` wrote")
    main(Path(sys.argv[1]))
