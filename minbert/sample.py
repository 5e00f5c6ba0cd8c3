"""Generate a small synthetic sample of the four data sets, in the course's own file format.

Every sentence is drawn from the word lists and templates below; none comes from a real data
set. Each task goes through the same stages: a *grammar* makes phrases whose meaning is known,
an *example* is one or two texts with the label that follows from that meaning, and the *writer*
lays the examples out as tab-separated files. Scores on them say nothing about the real tasks.

Only `Random.random` is used to draw: it is the one method Python promises to keep stable from
version to version, so a seed names the same bytes everywhere.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from minbert.files import write_text

T = TypeVar("T")
Slots = dict[str, str]  # what fills each slot of a template
Options = dict[str, list[str]]  # what may fill it


def _items(text: str) -> list[str]:
    """Split a word list at its commas."""
    return [" ".join(item.split()) for item in text.split(",")]


def _pairs(text: str) -> list[Options]:
    """Read pairs of lines: verbs, and below them the objects that any of these verbs takes."""
    lines = [_items(line) for line in text.strip().splitlines()]
    return [{"verb": lines[i], "object": lines[i + 1]} for i in range(0, len(lines), 2)]


# ---- Words --------------------------------------------------------------------------------

# Film reviews. The keys are valences, from -2 (hated) to 2 (loved); a grade is a valence plus 2.
ADJECTIVES = {
    -2: _items("dreadful, awful, unbearable, atrocious, wretched, ghastly, abysmal, dire, inept"),
    -1: _items("dull, weak, clumsy, predictable, thin, muddled, bland, forced, stale, tiresome"),
    0: _items("ordinary, adequate, passable, middling, unremarkable, conventional, average"),
    1: _items("good, pleasant, engaging, likeable, witty, charming, lively, thoughtful, amusing"),
    2: _items("marvellous, superb, dazzling, exquisite, brilliant, magnificent, glorious, perfect"),
}
PREDICATES = {
    -2: _items("fails at every turn, is a waste of an evening, is painful to sit through"),
    -1: _items("drags in the middle, never quite works, leaves little behind, runs out of ideas"),
    0: _items("does its job, is much as expected, neither helps nor hurts, follows the usual path"),
    1: _items("works well enough, holds the attention, wins you over, raises a few real smiles"),
    2: _items("is a joy from start to finish, could hardly be better, deserves every prize"),
}
INTENSIFIERS = _items("very, deeply, remarkably, extremely, thoroughly, terribly")
EMPHASISERS = _items("absolutely, utterly, simply, quite")  # "very superb" is not English
DOWNTONERS = _items("sometimes, occasionally, intermittently, at times, often")
NEGATIONS = _items("is not, is n't, is never, is hardly")
PARTS = _items("""plot, cast, story, script, dialogue, ending, score, camera work, pacing, acting,
    opening, second half, direction, humour, costume design, premise, finale, lead performance""")
GENRES = _items("comedy, drama, thriller, western, romance, musical, mystery, war film, road movie")
PEOPLE = _items("""baker, retired sailor, young lawyer, night nurse, piano teacher, taxi driver,
    widow, farm hand, chess player, detective, tailor, violinist, lighthouse keeper, postman""")
DEEDS = _items("""inherits a lighthouse, moves to a fishing village, hides a stolen painting,
    trains for a long race, searches for a missing brother, opens a cafe in the mountains,
    returns home after the war, befriends a neighbour, is mistaken for a spy, adopts a stray dog""")
OPENERS = _items("in the end, to be fair, from the first scene, as it happens, on the whole")
VIEWINGS = _items("last night, on a long flight, at a festival, with my family, late on Sunday")

# Questions. From here on "a/b" is one concept with wordings that mean the same.
HOW_TO: Options = {
    "intent": [
        "How do I {do}?/How can I {do}?/What is the best way to {do}?/How should one {do}?",
        "How long does it take to {do}?/How much time do I need to {do}?/How quickly can one {do}?",
        "How much does it cost to {do}?/What does it cost to {do}?/How much must I pay to {do}?",
        "Is it hard to {do}?/How difficult is it to {do}?/Would I find it difficult to {do}?",
    ],
    "context": _items("at home, on a small budget, as a beginner, without help, with children"),
}
_JOBS = _pairs("""
    learn to play a {}/learn the {}, tune a {}, choose a {}/pick a {}, restring a {}
    mandolin, cello, harp, banjo, lute, zither, viola, bass guitar
    learn {}/study {}, teach {}/give lessons in {}, read novels in {}, type letters in {}
    Welsh, Finnish, Swahili, Basque, Icelandic, Maltese, Catalan, Tagalog
    grow {}/raise {}, prune {}/cut back {}, protect {} from frost, sell {}, transplant {}
    gooseberries, dahlias, artichokes, lavender, hazelnuts, leeks, lupins, quinces
    travel to {}/get to {}, find work in {}/get a job in {}, make friends in {}, move to {}
    Ljubljana, Bergen, Mombasa, Tampere, Cork, Salta, Porto, Tromso, Hobart
    repair a {}/fix a {}, clean a {}, sell an old {}/sell a second-hand {}, rent a {}/hire a {}
    sewing machine, tractor, slide projector, canoe, rowing boat, kiln, loom, piano
    cook {}/prepare {}, freeze {}, reheat {}/warm up {}, season {}, serve {} to a crowd
    lentil soup, barley risotto, plum dumplings, fish pie, nettle stew, rye porridge
    improve at {}/get better at {}, teach {}/give lessons in {}, judge a contest in {}
    juggling, calligraphy, whittling, fencing, bookbinding, archery, yodelling, pottery
""")
PHRASE: Options = {
    "intent": [
        'What does "{do}" mean?/What is the meaning of "{do}"?/How would you define "{do}"?',
        'Where does the phrase "{do}" come from?/What is the origin of the phrase "{do}"?',
        'How do I use "{do}" in a sentence?/Can you put "{do}" into a sentence?',
    ],
    "context": [""],
    "verb": ["{}"],
    "object": _items("""long shot, dead heat, paper trail, fair copy, cold start, open book,
        damp squib,
        ground rule, slow burn, soft launch, blank slate, short notice, level field, hard stop"""),
}
TOPICS = [*(HOW_TO | job for job in _JOBS), PHRASE]

# Captions of pictures.
CAPTION: Options = {
    "frame": _items("""a {modifier} {subject} is {verb} a {trait} {object}/
        there is a {modifier} {subject} {verb} a {trait} {object}"""),
    "subject": _items("""man/guy, woman/lady, boy/lad, doctor/physician, chef/cook, kid/child,
        soldier/trooper, farmer, sailor/seaman, teacher/instructor, tourist/visitor, nurse"""),
    "modifier": _items("young/youthful, old/elderly, tall, thin/slim, cheerful/happy, tired/weary"),
    "place": _items("""in a park, on a beach/by the sea, in a yard/in a courtyard, near a barn,
        beside a road/by a street, in front of a shop/outside a store, on a roof, at a market"""),
    "trait": _items("small/little, large/big, green, white, black, heavy, wet, shiny/gleaming"),
}
_ACTS = _pairs("""
    slicing/cutting, washing/rinsing, eating, selling, throwing/tossing, peeling
    carrot, melon, potato, cucumber, mango, lemon, turnip, peach
    playing, carrying/holding, tuning, repairing/fixing, polishing
    guitar, violin/fiddle, harp, trumpet, drum, flute, banjo, cello
    feeding, stroking/petting, chasing/pursuing, bathing/washing, leading
    dog/hound, pony, goat, calf, donkey, lamb, rabbit/bunny, horse
    reading, signing, folding, tearing/ripping, holding up
    letter/note, newspaper/paper, map, contract/agreement, poster, menu, postcard
    pushing/shoving, painting, riding, loading, fixing/mending
    bicycle/bike, scooter, cart/wagon, sledge/sled, tractor, wheelbarrow, boat
""")
SCENES = [CAPTION | act for act in _ACTS]
OPTIONAL = ("context", "modifier", "trait", "place")
# What an edit takes off a similarity of 50 tenths; changing the last four leaves nothing.
SYNONYM = 2
CHANGE = {"modifier": 5, "trait": 5, "place": 8, "object": 12, "subject": 14, "verb": 16}


# ---- Drawing ------------------------------------------------------------------------------
def pick(rng: Random, items: Sequence[T]) -> T:
    """Return one of `items`, each equally likely."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: Random, items: Iterable[T]) -> list[T]:
    """Return `items` in random order."""
    return sorted(items, key=lambda _: rng.random())


def filled(rng: Random, options: Options) -> Slots:
    """Fill every slot with one of its options; leave each optional slot empty half the time."""
    slots = {slot: pick(rng, choices) for slot, choices in options.items()}
    return {slot: "" if slot in OPTIONAL and rng.random() < 0.5 else slots[slot] for slot in slots}


def other(rng: Random, items: Sequence[str], current: str) -> str:
    """Return one of `items` that shares no wording with `current`."""
    taken = set(current.split("/"))
    return pick(rng, [item for item in items if taken.isdisjoint(item.split("/"))])


def tidy(text: str) -> str:
    """Close up the gaps that empty slots leave, mend "a" before a vowel, start with a capital."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", " ".join(text.split()))
    return text[:1].upper() + text[1:]


# ---- Grammar: what a sentence of a review says, and how it adds up ------------------------
class Phrase(NamedTuple):
    """Words and the sentiment they add up to, from -2 to 2."""

    text: str
    valence: int


def sign(value: int) -> int:
    """Return -1, 0 or 1."""
    return (value > 0) - (value < 0)


def adjective(rng: Random) -> Phrase:
    """Draw a bare adjective, or one made a step stronger or a step weaker by an adverb."""
    valence, roll = pick(rng, list(ADJECTIVES)), rng.random()
    word = pick(rng, ADJECTIVES[valence])
    if valence == 0 or roll < 0.5:
        return Phrase(word, valence)
    if roll < 0.7:
        return Phrase(f"{pick(rng, DOWNTONERS)} {word}", valence - sign(valence))
    adverbs = INTENSIFIERS if abs(valence) == 1 else EMPHASISERS
    return Phrase(f"{pick(rng, adverbs)} {word}", 2 * sign(valence))


def clause(rng: Random) -> Phrase:
    """Say one thing about one part of a film."""
    part, roll = pick(rng, PARTS), rng.random()
    valence = pick(rng, list(PREDICATES))
    if roll < 0.25:
        return Phrase(f"the {part} {pick(rng, PREDICATES[valence])}", valence)
    if roll < 0.5 and valence != 0:
        # Negation shifts by two rather than flips: "not superb" is neutral, "not bad" is good.
        words = f"the {part} {pick(rng, NEGATIONS)} {pick(rng, ADJECTIVES[valence])}"
        return Phrase(words, valence - 2 * sign(valence))
    said = adjective(rng)
    return Phrase(f"the {part} is {said.text}", said.valence)


def film(rng: Random) -> Phrase:
    """Judge the whole film, and half the time say what it is about."""
    said = adjective(rng)
    about = f" about a {pick(rng, PEOPLE)} who {pick(rng, DEEDS)}" if rng.random() < 0.5 else ""
    return Phrase(f"a {said.text} {pick(rng, GENRES)}{about}", said.valence)


def synopsis(rng: Random) -> Phrase:
    """State what happens, with no opinion."""
    link = pick(rng, ["follows", "is about", "tells of", "centres on"])
    return Phrase(f"the {pick(rng, GENRES)} {link} a {pick(rng, PEOPLE)} who {pick(rng, DEEDS)}", 0)


def joined(rng: Random, first: Phrase, second: Phrase) -> Phrase:
    """Join two phrases; of two opposites the main one wins, at the price of a step."""
    if first.valence * second.valence >= 0:
        valence = max(first.valence, second.valence, key=abs)
        return Phrase(first.text + pick(rng, [" and ", " , and ", " ; "]) + second.text, valence)
    link = pick(rng, [" but ", " , yet ", " , but ", " , though "])
    main = first if "though" in link else second
    return Phrase(first.text + link + second.text, main.valence - sign(main.valence))


def opinion(rng: Random) -> Phrase:
    """Say one thing, or two."""
    said = pick(rng, [synopsis, film, film, clause, clause, clause, clause])(rng)
    return joined(rng, said, clause(rng)) if rng.random() < 0.5 else said


def sentence(rng: Random, valence: int) -> str:
    """Draw a sentence of the valence asked for, spaced like the course's files."""
    while (said := opinion(rng)).valence != valence:
        pass
    opener = f"{pick(rng, OPENERS)} , " if rng.random() < 0.2 else ""
    return tidy(f"{opener}{said.text} .")


# ---- Examples: texts and the label that follows from them ---------------------------------
class Example(NamedTuple):
    """One row: its one or two texts, and the label as the files spell it."""

    texts: tuple[str, ...]
    label: str


def graded(rng: Random, grade: int) -> Example:
    """Draw a sentence of sentiment `grade`, 0 to 4. The course's sentences begin with a space."""
    return Example((" " + sentence(rng, grade - 2),), str(grade))


def review(rng: Random, liked: int) -> Example:
    """Draw a review of 60 to 150 words that leans one way but concedes a point now and then."""
    lean, length = (1 if liked else -1), 70 + rng.random() * 50
    said = [f"I saw this {pick(rng, GENRES)} {pick(rng, VIEWINGS)} .", sentence(rng, 0)]
    while len(" ".join(said).split()) < length:
        said.append(sentence(rng, lean * pick(rng, [2, 2, 1, 1, 1, 0, -1])))
    return Example((" " + " ".join(said),), str(liked))


def asked(rng: Random, question: Slots) -> str:
    """Word a question, with a free choice among the wordings of each slot."""
    said = {slot: pick(rng, concept.split("/")) for slot, concept in question.items()}
    action = f"{said['verb'].format(said['object'])} {said['context']}"
    return tidy(said["intent"].format(do=action.strip()))


def question_pair(rng: Random, duplicate: int) -> Example:
    """Draw two wordings of one question, or of two that differ in one point (rarely in all)."""
    topic = pick(rng, TOPICS)
    first = second = filled(rng, topic)
    if not duplicate and rng.random() < 0.15:
        second = filled(rng, pick(rng, [t for t in TOPICS if t is not topic]))
    elif not duplicate:
        slot = pick(rng, [slot for slot in topic if len(topic[slot]) > 1])
        second = first | {slot: other(rng, topic[slot], first[slot])}
    first, second = shuffled(rng, [first, second])  # the narrower question may come first
    return Example((asked(rng, first), asked(rng, second)), f"{duplicate}.0")


def described(rng: Random, scene: Slots, style: float) -> str:
    """Word a scene with the first wording of each slot; the place may come first."""
    said = {slot: concept.split("/")[0] for slot, concept in scene.items()}
    text, place = said["frame"].format(**said), said["place"]
    text = tidy(f"{place}, {text}" if place and rng.random() < 0.15 else f"{text} {place}")
    return text + "." if style < 0.6 else text if style < 0.8 else text[0].lower() + text[1:]


def edited(rng: Random, scene: Slots, options: Options, rate: float) -> tuple[Slots, int]:
    """Drop, add or replace parts at `rate`, reword others; give the similarity left in tenths."""
    after, tenths = dict(scene), 50
    for slot, concept in scene.items():
        if slot in CHANGE and rng.random() < rate:
            drop = slot in OPTIONAL and concept and rng.random() < 0.5
            after[slot] = "" if drop else other(rng, options[slot], concept)
            tenths -= CHANGE[slot]
        elif "/" in concept and rng.random() < 0.2:
            after[slot] = "/".join(reversed(concept.split("/")))
            tenths -= SYNONYM
    return after, max(0, tenths)


def scene_pair(rng: Random, band: int) -> Example:
    """Draw two descriptions whose similarity, 5 less the cost of each edit, rounds to `band`."""
    options, style = pick(rng, SCENES), rng.random()
    first = filled(rng, options)
    if band == 0:
        options = pick(rng, SCENES)  # every slot changes, so the activity may be another
    second, tenths = edited(rng, first, options, 1 - band / 5.5)
    while (tenths + 5) // 10 != band:
        second, tenths = edited(rng, first, options, 1 - band / 5.5)
    texts = [described(rng, scene, style) for scene in shuffled(rng, [first, second])]
    return Example(tuple(texts), f"{tenths / 10:.1f}")


# ---- Files --------------------------------------------------------------------------------
class Task(NamedTuple):
    """One task's three files. Label k takes `shares[k]` parts of the rows, which `draw` makes."""

    stem: str
    label: str
    rows: tuple[int, int, int]
    shares: tuple[int, ...]
    draw: Callable[[Random, int], Example]
    pair: bool


# STS has the least to train on, so a schedule that samples by size has a rare task to treat.
TASKS = (
    Task("ids-sst", "sentiment", (400, 100, 100), (13, 26, 20, 26, 15), graded, pair=False),
    Task("quora", "is_duplicate", (600, 150, 150), (63, 37), question_pair, pair=True),
    Task("sts", "similarity", (240, 80, 80), (1, 1, 1, 1, 1, 1), scene_pair, pair=True),
    Task("ids-cfimdb", "sentiment", (60, 20, 20), (1, 1), review, pair=False),
)


def quota(rng: Random, shares: Sequence[int], count: int) -> list[int]:
    """Return `count` labels in the proportions of `shares`, in random order."""
    ladder = [label for label, share in enumerate(shares) for _ in range(share)]
    return shuffled(rng, [ladder[i * len(ladder) // count] for i in range(count)])


def fresh(rng: Random, task: Task, label: int, seen: set[str]) -> Example:
    """Draw an example whose texts' words are not in `seen`; RuntimeError where none is left."""
    for _ in range(1000):
        example = task.draw(rng, label)
        keys = {" ".join(re.findall(r"\w+", text.lower())) for text in example.texts}
        if len(keys) == len(example.texts) and keys.isdisjoint(seen):
            seen |= keys
            return example
    raise RuntimeError(f"{task.stem}: no new example of label {label} in 1000 draws")


def tables(task: Task, seed: int) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the name and the lines of each of a task's files; no text occurs twice in a task."""
    # The course numbers pairs at random, sentences in order; test sentences have two numbers.
    rng, seen = Random(f"{seed}/{task.stem}"), set[str]()
    numbers = iter(shuffled(rng, range(sum(task.rows))))
    columns = ["", "id", *(["sentence1", "sentence2"] if task.pair else ["sentence"])]
    for split, count in zip(("train", "dev", "test-student"), task.rows, strict=True):
        name, test = f"{task.stem}-{split}.csv", split == "test-student"
        odd = test and not task.pair
        lines = [["0", *columns] if odd else columns if test else [*columns, task.label]]
        for i, label in enumerate(quota(rng, task.shares, count)):
            example = fresh(rng, task, label, seen)
            number = [str(i + 1), f"{i}.0"] if odd else [str(next(numbers) if task.pair else i)]
            identity = hashlib.sha256(f"{seed}/{name}/{i}".encode()).hexdigest()[:25]
            lines.append([*number, identity, *example.texts, *([] if test else [example.label])])
        yield name, lines


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sample's files and list them; exits 2 with one line on bad usage."""
    parser = argparse.ArgumentParser("python -m minbert.sample", allow_abbrev=False)
    parser.description = "Write a small synthetic sample of the data sets, in their format."
    parser.usage = argparse.SUPPRESS  # so that a complaint is one line
    out, seed = "folder to write to (default: %(default)s)", "whole number (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help=out)
    parser.add_argument("--seed", type=int, default=11711, help=seed)
    args = parser.parse_args(argv)
    for name, lines in (made for task in TASKS for made in tables(task, args.seed)):
        text = io.StringIO()
        csv.writer(text, delimiter="\t", lineterminator="\n").writerows(lines)
        try:
            write_text(args.out / name, text.getvalue())
        except OSError as error:
            parser.error(f"--out {args.out}: {error.strerror}")
        print(f"{name}: {len(lines) - 1} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
