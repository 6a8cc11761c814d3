"""Write one slimmed network for other programs, and compare: python -m stages.export_slim NETWORK."""

from nas.pipeline.errors import UserError
from nas.pipeline.names import Exported, Slimmed
from nas.pipeline.params import Params
from nas.pipeline.stage import run
from stages.export import write


def main(params: Params, name: str, network: str) -> None:
    from nas.dnal.slim import load

    try:
        Slimmed.of(network)
    except ValueError:
        raise UserError(f"network: {network} is not allowed: must be MODEL-PENALTY") from None
    write(params, Exported(network), load)


if __name__ == "__main__":
    run(main)
