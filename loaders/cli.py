"""`clipzoo scan`, `clipzoo cache` and `clipzoo show`."""

from __future__ import annotations

import shutil
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from loaders.errors import ClipzooError, VideoError
from loaders.printable import printable_name
from loaders.renamed_options import renamed_options
from loaders.split import SPLITS, Split
from loaders.terminal import (
    JsonFile,
    ListFile,
    OnErrorChoice,
    RayAddress,
    RayWorkers,
    bar,
    check_ray,
    index_videos,
    parse_spec,
    text_console,
    write_json,
)

app = typer.Typer()
_OLD = {"--split": "--list FILE"}
Videos = Annotated[Path, typer.Argument(help="Folder of clips, with or without a sub-folder per action.")]
Spec = Annotated[
    str, typer.Option(help="What to read: frames=5,size=112,modality=flow,... or a JSON file (a run.json will do).")
]
Workers = Annotated[int, typer.Option(min=1, help="Files that are read side by side.")]


@app.command(cls=renamed_options(_OLD))
def scan(
    videos: Videos,
    list_file: ListFile = None,
    json_file: JsonFile = None,
    workers: Workers = 2,
    time_limit: Annotated[float, typer.Option(help="Seconds for a file, then it is stopped.")] = 60.0,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
) -> None:
    """Decode every file once: true frame counts, and what is broken, short, rotated or of variable rate.

    With --json FILE and pyarrow, an interrupted scan goes on from what is done.
    """
    from loaders.parquet_parts import remove_parts
    from loaders.scan_corpus import scan_corpus
    from loaders.scanning import scan as scan_index
    from loaders.scanning import unusual

    console = text_console()
    check_ray(ray, ray_workers)
    keep = json_file if str(json_file) != "-" else None
    index = index_videos(videos, list_file, labeled=False)
    with bar(text_console(stderr=True), "scanning", len({clip.file for clip in index})) as advance:
        if ray or (keep and find_spec("pyarrow")):  # parts are kept as Parquet
            found = scan_corpus(
                index, ray=ray, ray_workers=ray_workers, keep=keep, workers=workers, time_limit=time_limit,
                advance=advance,
            )  # fmt: skip
        else:
            found = scan_index(index, workers=workers, time_limit=time_limit, advance=advance)
    table = Table(Column("file", overflow="fold"), "frames", "seconds", "fps", "size", "codec", "what is unusual")
    for scanned in unusual(found.files):
        table.add_row(
            printable_name(scanned.file),
            str(scanned.frames),
            f"{scanned.seconds:.2f}",
            f"{scanned.fps:.2f}",
            f"{scanned.width}x{scanned.height}",
            scanned.codec,
            "; ".join(scanned.notes),
        )
    if table.row_count:
        console.print(table)
    good = [scanned for scanned in found.files if not scanned.problem]
    counts = sorted(scanned.frames for scanned in good)
    console.print(
        f"{len(found.files)} files: {len(good)} can be read, {len(found.files) - len(good)} cannot"
        + (f"; {counts[0]} to {counts[-1]} frames, median {counts[len(counts) // 2]}" if counts else "")
        + f", {sum(scanned.seconds for scanned in good) / 60:.1f} minutes in all"
    )
    if json_file:
        write_json(json_file, found.to_dict(), console)
        remove_parts(json_file)


@app.command(cls=renamed_options(_OLD))
def cache(
    videos: Videos,
    spec: Spec,
    out: Annotated[Path, typer.Option(help="Folder of the cache.")],
    list_file: ListFile = None,
    train: Annotated[
        bool, typer.Option("--train", help="For training: every place that random sampling may ask for.")
    ] = False,
    shard: Annotated[str, typer.Option(help="I/N: the I-th of N shares, 1 to N; each host takes another.")] = "1/1",
    workers: Workers = 2,
    on_error: Annotated[OnErrorChoice, typer.Option(help="Broken files: leave out, or stop.")] = OnErrorChoice.SKIP,
    ray: RayAddress = None,
    ray_workers: RayWorkers = None,
) -> None:
    """Decode clips into a disk cache. Stop it when you like: it goes on where it was."""
    from loaders.cache import DiskCache
    from loaders.cache_filling import fill_all, missing_bytes
    from loaders.canvas import can_be_cached
    from loaders.flow import require_methods

    check_ray(ray, ray_workers)

    console, stderr = text_console(), text_console(stderr=True)
    host, _, hosts = shard.partition("/")
    if not (host.isdecimal() and hosts.isdecimal() and 1 <= int(host) <= int(hosts)):
        raise ClipzooError(f"--shard {shard!r} must be I/N with 1 <= I <= N, such as 2/4")
    specs = parse_spec(spec)
    splits: tuple[Split, ...] = SPLITS if train else ("test",)
    require_methods(specs.values())
    for each in specs.values():
        if not all(can_be_cached(each, split) for split in splits):
            raise ClipzooError("pairs='sampled' with random sampling cannot be cached: every pair may be drawn")
    index = index_videos(videos, list_file, labeled=False)
    chosen = range(int(host) - 1, len(index), int(hosts))
    disk = DiskCache(out)
    made, broken = 0, 0
    needed, free = missing_bytes(disk, index, chosen, list(specs.values()), splits), shutil.disk_usage(out).free
    if needed > free:
        raise ClipzooError(
            f"--out {out}: about {_size(needed)} are needed, {_size(free)} are free; make room, or give another disk, "
            "a smaller spec, or a --shard of the clips"
        )
    stderr.print(f"to make: about {_size(needed)}; free: {_size(free)}")

    filled = fill_all(
        out, index, chosen, list(specs.values()), splits, workers=workers, ray=ray, ray_workers=ray_workers
    )
    with bar(stderr, "caching", len(chosen)) as advance, closing(filled):
        for done in filled:
            advance()
            if isinstance(done, VideoError):
                if on_error is OnErrorChoice.FAIL:
                    raise done
                broken += 1
                stderr.print(f"left out: {done}")
            else:
                made += done > 0
    console.print(
        f"{len(chosen)} clips: {made} made, {len(chosen) - made - broken} there already, {broken} left out; "
        f"{out} holds {_size(disk.size())}"
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


@app.command(cls=renamed_options(_OLD))
def show(
    videos: Videos,
    spec: Spec,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("grid.png"),
    list_file: ListFile = None,
    clips: Annotated[int, typer.Option(min=1, max=64, help="How many.")] = 8,
    augment: Annotated[bool, typer.Option("--augment", help="As training would change them.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which clips, and how they are changed.")] = 0,
) -> None:
    """Draw clips as a model gets them: a row a clip, flow as a color wheel."""
    import numpy as np

    from loaders.augment import Augmentation
    from loaders.clip import read_inputs
    from loaders.pictures import clip_title, draw_clips, readable

    stderr = text_console(stderr=True)
    specs = parse_spec(spec)
    index = index_videos(videos, list_file, labeled=False)
    name, wanted = next(iter(specs.items()))
    drawn: dict[int, np.ndarray] = {}
    for position in np.random.default_rng(seed).permutation(len(index)):
        try:
            read = read_inputs(
                index.path(position),
                {name: wanted},
                span=index[position].span,
                split="train" if augment else "test",
                rng=np.random.default_rng((seed, int(position))),
                augmentation=Augmentation() if augment else None,
            )
        except VideoError as error:
            stderr.print(f"left out: {error}")
            continue
        drawn[int(position)] = readable(read[name], wanted)
        if len(drawn) == clips:
            break
    if not drawn:
        raise ClipzooError(f"{videos}: no clip can be read")
    order = sorted(drawn)
    draw_clips(np.stack([drawn[n] for n in order]), [clip_title(index[n]) for n in order], out)
    text_console().print(f"wrote {out}: {len(drawn)} clips, each uint8 {wanted.shape}")
