# %% [markdown]
# # Training a neural network on videos, in clipzoo
#
# This walks through the article "Training neural network with image sequence, an example with video as input"
# (Metal3d, 2019), step by step: the generator, a ConvNet with a GRU, a MobileNet with a GRU, the curves. Then it does
# what the article leaves to the reader: scores on clips of other films, and one ONNX file.
#
# The clips are three actions of HMDB51, if they are there, and drawn motions otherwise. `KERAS_BACKEND` chooses JAX or
# TensorFlow.

# %%
import os
from pathlib import Path

import export
import loaders
import zoo
from loaders.compat import VideoFrameGenerator
from zoo.pictures import draw_curves

DATA = Path(os.environ.get("CLIPZOO_DATA", "../shared/data"))  # holds hmdb21, splits/hmdb51 and weights
EPOCHS = int(os.environ.get("EPOCHS", "50"))  # the article's
OUT = Path(os.environ.get("OUT", "article"))
WIDTH = float(os.environ.get("WIDTH", "1"))  # of the ConvNet: 0.5 is a quarter of the work

print(zoo.choose_backend())
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Clips
#
# An index says which clip has which label, and which part of the data it is in. HMDB51's official lists keep clips of
# one film together. A random split would put clips of one film into training and test. Every score would be too good.

# %%
real = (DATA / "hmdb21").is_dir()
if real:
    classes = ["golf", "kick_ball", "shoot_ball"]
    official = loaders.index_hmdb51(DATA / "hmdb21", DATA / "splits" / "hmdb51", classes=classes, only_present=True)
    test = official.only("test")
    index = official.only("train").split(validation=0.33, seed=0)
    weights = DATA / "weights" / "mobilenet_v1_075_224_imagenet_notop.h5"
    options = {"alpha": 0.75, "backbone_weights": weights}
    pattern = f"{DATA}/hmdb21/{{classname}}/*.avi"
else:
    drawn = loaders.draw_motion_clips(OUT / "clips", clips=60).split(test=0.2, seed=0)
    classes, test = list(drawn.labels), drawn.only("test")
    index = drawn.only("train").split(validation=0.33, seed=0)
    options = {"alpha": 0.25, "backbone_weights": "none"}
    pattern = f"{OUT}/clips/{{classname}}/*.avi"
print(len(index), "clips to train and validate on,", len(test), "to test on")

# %% [markdown]
# ## The generator
#
# Scripts written for `keras-video-generators` keep their generator: same name, same parameters. `rescale=None` leaves
# pixels as they are. The models scale them inside, so whoever runs the ONNX file need not know how.

# %%
generator = VideoFrameGenerator(
    classes=classes,
    glob_pattern=pattern,
    nb_frames=5,
    split_val=0.33,
    shuffle=True,
    batch_size=8,
    target_shape=(112, 112),
    nb_channel=3,
    transformation=loaders.Augmentation(zoom=0.1, flip=True, rotation=8, width_shift=0.2, height_shift=0.2),
    rescale=None,
)
clips, labels = generator[0]
print(clips.shape, clips.dtype, labels.shape)
figure = loaders.show(generator, out=OUT / "generator.png", most=4)

# %% [markdown]
# The generator does not know which clips are of one film. `ClipDataset` takes the index, which does. It gives the same
# batches otherwise, and from here on it is what trains.

# %% [markdown]
# ## ConvNet and GRU
#
# A ConvNet of eight layers on each of five frames, a GRU of 64 units over time, then dense layers: as in the article.

# %%
model = zoo.create_model("convnet_gru", classes=classes, frames=5, size=112, width=WIDTH)
recipe = zoo.Recipe(epochs=EPOCHS, batch=8, optimizer="adam", learning_rate=1e-3)
train = loaders.ClipDataset(
    index.only("train"), zoo.specs(model), batch_size=8, shuffle=True, augmentation=loaders.Augmentation(), workers=2
)
validation = loaders.ClipDataset(index.only("validation"), zoo.specs(model), batch_size=8)
history = zoo.fit(model, train, validation, recipe=recipe)

# %%
draw_curves(history, OUT / "convnet.png")
print(f"ConvNet and GRU: validation accuracy {history[-1]['val_accuracy']:.0%} after {len(history)} epochs")

# %% [markdown]
# ## MobileNet and GRU
#
# The article's second model begins from ImageNet weights. It trains the last nine layers of MobileNet and what follows.
# `zoo.train` does all of it in one call. It keeps the best epoch, the curves, and the record of how it was made.

# %%
recipe = zoo.Recipe(epochs=EPOCHS, batch=8, learning_rate=1e-3, train_from="conv_pw_12", validation=0.33)
run = zoo.train(
    index, "mobilenet_gru", recipe, out=OUT / "mobilenet", options={"frames": 5, "size": 112, **options}, overwrite=True
)
print(f"MobileNet and GRU: validation accuracy {run.read_record()['best']['val_accuracy']:.0%}; curves: {run.curves}")

# %% [markdown]
# ## The recipe that clipzoo would choose
#
# `zoo.plan` looks at the model, the weights and the number of clips. On a CPU it computes what the frozen network gives
# once, and trains what stands behind it.

# %%
plan = zoo.plan("mobilenet_gru", index, options=options)
print(*plan.lines, sep="\n")
if EPOCHS >= 10:  # else this is a trial of the script, and `auto` takes its time
    chosen = zoo.train(index, "mobilenet_gru", plan.recipe, out=OUT / "auto", options=plan.options, overwrite=True)
else:
    chosen = run

# %% [markdown]
# ## One file, and clips that training never saw
#
# The ONNX file holds the scaling, the labels and how frames are sampled. `export.score` runs it on the test clips.

# %%
for each in {run.folder: run, chosen.folder: chosen}.values():
    file = each.folder / "model.onnx"
    export.to_onnx(each.folder, file, force=True)
    result = export.score(file, test).evaluate()
    low, high = result.interval
    print(f"{each.folder.name}: top-1 {result.top1:.1%} of {result.clips} test clips (95 %: {low:.1%} to {high:.1%})")

# %% [markdown]
# From here on no Keras is needed: `clipzoo predict article/mobilenet/model.onnx video.mp4`.
