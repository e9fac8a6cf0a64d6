"""A folder to the Hugging Face Hub."""

from pathlib import Path

from openjepa.common.hub import HUB, huggingface_hub, repository, why
from openjepa.errors import UserError


def upload(folder: Path, name: str, *, private: bool = False) -> str:
    """Send a folder to `owner/name`, which is made where it is missing; its address.

    Raises:
        UserError: another form of name, huggingface_hub missing, nobody is logged in, or the Hub refuses or cannot be
            reached.
    """
    repository(HUB + name)
    library = huggingface_hub()
    try:
        hub = library.HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="A model of OpenJEPA")
    except Exception as error:  # of its own and of the network's libraries
        raise UserError(f"{name} cannot be published: {why(error)}") from error
    return f"https://huggingface.co/{name}"
