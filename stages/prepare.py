"""Read the data set once, check it, fix the splits: python -m stages.prepare."""

from nas.pipeline.names import DATA
from nas.pipeline.params import Params
from nas.pipeline.stage import run


def main(params: Params, name: str) -> None:
    from nas.data.prepare import prepare
    from nas.data.streaming import cpus

    p = params.data
    prepare(
        p.name,
        p.root,
        DATA,
        seed=params.seed,
        image_size=p.image_size,
        test_resize=p.test_resize,
        train_limit=p.train_limit,
        test_limit=p.test_limit,
        workers=cpus() if p.stream else 0,
    )


if __name__ == "__main__":
    run(main)
