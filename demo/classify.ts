// Classifies photos with a published artifact, as any application would: preprocess.onnx, then model.onnx.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import sharp from "sharp";
import { z } from "zod";

export interface Answer {
  concept: string;
  /** Probability, 0 to 1. */
  score: number;
}

export interface Classifier {
  /** The most probable concept of an encoded image (PNG, JPEG, ...). */
  classify(image: Buffer): Promise<Answer>;
}

const Concepts = z.array(z.string()).min(1);

export async function openClassifier(folder: string): Promise<Classifier> {
  const concepts = Concepts.parse(
    JSON.parse(await readFile(join(folder, "concepts.json"), "utf8")),
  );
  const preprocess = await InferenceSession.create(join(folder, "preprocess.onnx"));
  const model = await InferenceSession.create(join(folder, "model.onnx"));
  return {
    async classify(image) {
      const pixels = await run(preprocess, await decode(image));
      const { data } = await run(model, pixels);
      if (!(data instanceof Float32Array)) throw new Error("the model's scores are not float32");
      const scores = [...data];
      const best = scores.indexOf(Math.max(...scores));
      return { concept: concepts[best] ?? "", score: scores[best] ?? 0 };
    },
  };
}

/** uint8 [height, width, 3], EXIF orientation applied, alpha over white: what the artifact's contract asks for. */
export async function decode(image: Buffer): Promise<Tensor> {
  const { data, info } = await sharp(image)
    .autoOrient()
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .raw()
    .toBuffer({ resolveWithObject: true });
  return new Tensor("uint8", new Uint8Array(data), [info.height, info.width, info.channels]);
}

async function run(session: InferenceSession, input: Tensor): Promise<Tensor> {
  const [inputName] = session.inputNames;
  const [outputName] = session.outputNames;
  if (inputName === undefined || outputName === undefined) throw new Error("not a model");
  const output = (await session.run({ [inputName]: input }))[outputName];
  if (output === undefined) throw new Error(`the model gave no ${outputName}`);
  return output;
}
