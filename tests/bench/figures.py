"""The measured figures, and their ratios."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from tests.bench.loops import STAGES, DecodeEffect, Slice
from tests.bench.system import Memory, SystemSlice

REFERENCE: Final = "reference"
LIMIT: Final = "limit"
PIPELINE: Final = "pipeline"
SYSTEM: Final = "system"
SYSTEM_2: Final = "system_2"
NAIVE: Final = "naive"
COMPETITORS: Final = (REFERENCE, LIMIT, PIPELINE, SYSTEM, SYSTEM_2, NAIVE)

RATIOS: Final = {
    "system/reference": (SYSTEM, REFERENCE),
    "system/limit": (SYSTEM, LIMIT),
    "pipeline/limit": (PIPELINE, LIMIT),
    "2 processes/1": (SYSTEM_2, SYSTEM),
    "system/naive": (SYSTEM, NAIVE),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of a figure over the rounds."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), median(values), max(values))


@dataclass(slots=True)
class SetFigures:
    """The figures of one set of images, from all rounds.

    Attributes:
        chunk_size: the chunk size of the jobs for two processes.
        turns: by competitor, one turn a round. In each round every competitor has its turn.
        systems: the turns of SYSTEM and SYSTEM_2, with what else the machine did during them.
    """

    name: str
    about: str
    images: int
    mean_bytes: float
    chunk_size: int
    turns: dict[str, list[Slice]] = field(default_factory=lambda: {name: [] for name in COMPETITORS})
    systems: dict[str, list[SystemSlice]] = field(default_factory=lambda: {SYSTEM: [], SYSTEM_2: []})
    decode: DecodeEffect | None = None

    def add(self, competitor: str, turn: Slice | SystemSlice) -> None:
        if isinstance(turn, SystemSlice):
            self.systems[competitor].append(turn)
            turn = turn.slice
        self.turns[competitor].append(turn)

    def rate(self, competitor: str) -> Spread:
        """Images a second of all processes together."""
        return Spread.of([turn.rate for turn in self.turns[competitor]])

    def faces_per_image(self, competitor: str) -> float:
        turns = self.turns[competitor]
        return sum(turn.faces for turn in turns) / sum(turn.images for turn in turns)

    def processor_ms(self, competitor: str) -> float:
        """Processor time an image of all processes together."""
        return median(turn.processor_ms for turn in self.turns[competitor])

    def ratio(self, name: str) -> Spread:
        """Ratio of the rates in the same round."""
        over, under = (self.turns[competitor] for competitor in RATIOS[name])
        return Spread.of([a.rate / b.rate for a, b in zip(over, under, strict=True)])

    def processor_ratio(self, name: str) -> Spread | None:
        """Ratio of images a second of processor time. Other programs on the machine hardly change it.

        For two processes over one, it is what two free cores would give. None if the processor time is not known.
        """
        over, under = RATIOS[name]
        turns = list(zip(self.turns[over], self.turns[under], strict=True))
        if not all(a.processor_s and b.processor_s for a, b in turns):
            return None
        processes = 2 if over == SYSTEM_2 else 1
        return Spread.of([processes * b.processor_ms / a.processor_ms for a, b in turns])

    def stages(self) -> dict[str, float]:
        """Processor ms an image by stage, measured in the limit. `rest` is what a worker with one process adds.

        The rest is fetching, the queue, the storage, and making results.
        """
        turns = self.turns[LIMIT]
        spent = {stage: median(1000 * turn.stages[stage] / turn.images for turn in turns) for stage in STAGES}
        whole = self.processor_ms(SYSTEM) or 1000 / self.rate(SYSTEM).median
        return {**spent, "rest": whole - sum(spent.values())}

    def idle(self, competitor: str) -> dict[int, float]:
        """Idle share of the time, by core."""
        rounds = [turn.idle for turn in self.systems[competitor]]
        return {core: median(one[core] for one in rounds) for core in rounds[0]}

    def others_ms(self, competitor: str) -> float:
        """Processor time an image of everything else on the machine."""
        return median(turn.others_ms for turn in self.systems[competitor])

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "about": self.about,
            "images": self.images,
            "mean_bytes": round(self.mean_bytes),
            "chunk_size": self.chunk_size,
            "competitors": {
                competitor: {
                    "images_per_s": asdict(self.rate(competitor)),
                    "processor_ms": self.processor_ms(competitor),
                    "faces_per_image": self.faces_per_image(competitor),
                    "images": [turn.images for turn in self.turns[competitor]],
                    "seconds": [turn.seconds for turn in self.turns[competitor]],
                }
                for competitor in COMPETITORS
            },
            "ratios": {name: asdict(self.ratio(name)) for name in RATIOS},
            "processor_ratios": {
                name: asdict(ratio) for name in RATIOS if (ratio := self.processor_ratio(name)) is not None
            },
            "stages_ms": self.stages(),
            "machine": {
                competitor: {"idle": self.idle(competitor), "others_ms": self.others_ms(competitor)}
                for competitor in self.systems
            },
            "decode_fast": asdict(self.decode) if self.decode else None,
        }


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of a cold process to the first result, for a worker and for `fiqa run`."""

    worker_s: float
    run_s: float


@dataclass(slots=True)
class Figures:
    """The figures of a whole run.

    Attributes:
        machine: processor, versions, models and servers.
        starts: one for each round.
    """

    machine: dict[str, str]
    rounds: int
    sets: list[SetFigures]
    memory: Memory
    starts: list[Start]

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "sets": [one.as_json() for one in self.sets],
            "memory_mb": asdict(self.memory),
            "starts": [asdict(one) for one in self.starts],
        }
