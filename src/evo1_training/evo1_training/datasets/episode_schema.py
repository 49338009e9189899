"""What dataset an episode fits into. Must not import ROS or torch."""

from evo1_policy.perception.messages import MessageError, decode_image, deserialize
from evo1_policy.robot_config import CameraConfig, differences
from evo1_training.datasets.frames import DatasetSchema, Storage
from evo1_training.datasets.recorded_streams import camera_topic, type_problem
from evo1_training.recording.bag_reader import Episode
from evo1_training.recording.episode import EpisodeError
from evo1_training.recording.mcap_records import Wanted


def schema_of(episode: Episode, storage: Storage) -> DatasetSchema:
    """Read the schema of an episode from its robot file and the first image of each camera.

    Raises:
        EpisodeError: rate_hz is no whole number, or a camera has no image that can be decoded.
    """
    robot = episode.robot
    fps = round(robot.rate_hz)
    if fps != robot.rate_hz:
        raise EpisodeError(
            f"{episode.folder}: rate_hz is {robot.rate_hz:g}; a LeRobot dataset needs a whole "
            "number of frames a second"
        )
    sizes = {camera.name: _image_size(episode, camera) for camera in robot.cameras}
    return DatasetSchema(robot=robot, fps=fps, image_sizes=sizes, storage=storage)


def schema_problem(schema: DatasetSchema, expected: DatasetSchema) -> str:
    """Why an episode does not fit into a dataset; empty where it does."""
    for key, theirs, ours in differences(schema.robot, expected.robot):
        return f"its {key}: {theirs}; the dataset has {ours}: convert it to a dataset of its own"
    for name, size in schema.image_sizes.items():
        if size != expected.image_sizes[name]:
            height, width = expected.image_sizes[name]
            return (
                f"camera '{name}' is {size[1]}x{size[0]}, the dataset has {width}x{height}: "
                "convert it to a dataset of its own"
            )
    return ""


def _image_size(episode: Episode, camera: CameraConfig) -> tuple[int, int]:
    """(height, width) of the first image of a camera."""
    topic = camera_topic(episode, camera)
    problem = "no message was recorded"
    for message in episode.read(Wanted(topics=frozenset([topic]))):
        foreign = type_problem(message, camera.type)
        if foreign:
            raise EpisodeError(f"{episode.bag}: {foreign}")
        try:
            content = deserialize(message.data, message.type, topic=topic)
            image = decode_image(content, topic=topic)
        except MessageError as error:
            problem = str(error)
            continue
        return image.shape[0], image.shape[1]
    raise EpisodeError(f"{episode.bag}: no image on {topic} can be used: {problem}")
