"""Checks Java, and resolves the jars once at set-up (`python -m shop_streams.local.jars`)."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from shop_streams.errors import ShopStreamsError
from shop_streams.settings import Settings, get_settings

MANIFEST = Path(__file__).with_name("ivy.xml")
MINIMUM_JAVA = 17


def spark_home() -> Path:
    """The folder of the pyspark wheel, which is a whole Spark distribution."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ShopStreamsError("pyspark is not installed in this Python; run `make setup`.")
    return Path(spec.origin).parent


def parse_java_version(text: str) -> int:
    """Major version out of `java -version`'s output: 17 for both `17.0.15` and `1.17`; 8 for `1.8.0_402`."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    if not match:
        raise ShopStreamsError(f"`java -version` answered {text.strip()!r}; install a JDK {MINIMUM_JAVA} or newer.")
    return int(match.group(1))


def require_java() -> str:
    """Path of a Java that is new enough.

    Raises:
        ShopStreamsError: Java is missing or older than 17.
    """
    java = shutil.which("java")
    advice = f"Install Java {MINIMUM_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless) and try again."
    if java is None:
        raise ShopStreamsError(f"Java is missing: no `java` on the PATH. {advice}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = parse_java_version(answer.stderr + answer.stdout)
    if version < MINIMUM_JAVA:
        raise ShopStreamsError(f"Java {version} at {java} is too old. {advice}")
    return java


def _stamp(settings: Settings) -> Path:
    return settings.jars / f"resolved-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:16]}"


def require_jars(settings: Settings) -> None:
    """Check that set-up resolved the jars of the present manifest."""
    if not _stamp(settings).exists():
        raise ShopStreamsError(f"The jars are not in {settings.jars}; run `make setup` once (needs the network).")


@retry(
    retry=retry_if_exception_type(subprocess.CalledProcessError),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=3),
    reraise=True,
)
def _ivy(java: str, settings: Settings) -> None:
    command = [
        java, "-cp", f"{spark_home()}/jars/*", "org.apache.ivy.Main",
        "-ivy", str(MANIFEST), "-confs", "kafka", "spark", "-cache", str(settings.jars / "cache"),
        "-retrieve", f"{settings.jars}/[conf]/[artifact]-[revision](-[classifier]).[ext]", "-warn",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)


def resolve(settings: Settings) -> None:
    """Fetch every jar of the manifest into `settings.jars`; does nothing when that was done before."""
    java = require_java()
    if _stamp(settings).exists():
        return
    shutil.rmtree(settings.jars, ignore_errors=True)
    try:
        with Console(stderr=True).status("Resolving Kafka, Delta and connector jars (about 100 MB, once) …"):
            _ivy(java, settings)
    except subprocess.CalledProcessError as error:
        tail = (error.stderr + error.stdout)[-1500:]
        raise ShopStreamsError(
            f"Resolving the jars failed; is the network up? Run `make setup` again.\n{tail}"
        ) from error
    shutil.rmtree(settings.jars / "cache", ignore_errors=True)
    _stamp(settings).touch()


if __name__ == "__main__":
    try:
        resolve(get_settings())
    except ShopStreamsError as problem:
        sys.exit(f"error: {problem}")
