// The operator is killed after every one of its writes, in every story that a model lives through: the same end, no Job
// twice, then no further write. (Before a write there is what was there after the one before it. The first training is
// in training.test.ts.)

import { describe, expect, test } from "vitest";
import { Dataset } from "../../api/dataset.ts";
import { DeepModel } from "../../api/deepmodel.ts";
import { ModelVersion } from "../../api/modelversion.ts";
import { condition } from "../plan/conditions.ts";
import { STABLE_AFTER_MS } from "../plan/deepmodel.ts";
import { brokenInvariants } from "../plan/testing/invariants.ts";
import type { FakeApiServer } from "../runtime/testing/apiserver.ts";
import { eventually } from "../runtime/testing/eventually.ts";
import { datasets, deepModels, jobs, modelVersions } from "./kinds.ts";
import type { Script } from "./testing/cluster.ts";
import { datasetManifest, modelManifest, Scene, settled } from "./testing/scene.ts";

interface Story {
  name: string;
  /** What has happened before; nobody is killed in it. */
  given: (tale: Tale) => Promise<void>;
  /** What happens, told by somebody who waits until it shows. */
  tells: (tale: Tale) => Promise<void>;
  /** What is left in the end, however it came about. */
  end: unknown;
  /** Every Job that was ever made, sorted. */
  started: string[];
}

const trains: Script = (run) => (run.task === "import" ? { exitCode: 0 } : "never-ends");
const publishes: Script = () => ({ exitCode: 0 });
const isOf = (object: string, script: Script, others: Script): Script => {
  return (run) => (run.object.name === object ? script(run) : others(run));
};
const withGpu = { resources: { gpus: 1 } };
const epochs = (number: number) => ({
  hyperparameters: { num_epochs: number, logreg: false, image_size: 32 },
});

/** A scene with a clock that can be set forward, and words for what people do and see in it. */
class Tale {
  readonly scene: Scene;
  #aheadMs = 0;

  constructor(scene: Scene) {
    this.scene = scene;
  }

  get server(): FakeApiServer {
    return this.scene.server;
  }
  set script(script: Script) {
    this.scene.kubelet.script = script;
  }

  async begin(): Promise<void> {
    await this.scene.begin({ nowMs: () => Date.now() + this.#aheadMs });
  }

  /** So much time passes at once: whoever waits for the hour is woken. */
  pass(ms: number): void {
    this.#aheadMs += ms;
    for (const { queue } of this.scene.operator?.controllers.controllers ?? []) {
      for (const key of ["shop/photos", "shop/pets", "shop/pets-v1", "shop/pets-v2"])
        queue.add(key);
    }
  }

  apply(spec: object, annotations?: Record<string, string>): void {
    this.server.put(deepModels, modelManifest(spec, annotations));
  }

  get model(): DeepModel {
    return DeepModel.parse(this.server.get(deepModels, "shop/pets"));
  }
  version(name: string): ModelVersion | undefined {
    return ModelVersion.safeParse(this.server.get(modelVersions, `shop/${name}`)).data;
  }
  get dataset(): Dataset {
    return Dataset.parse(this.server.get(datasets, "shop/photos"));
  }

  /** Until Ready says so, of this generation. */
  ready(reason: string): Promise<void> {
    return eventually(() => isReady(this.model, reason), 45_000);
  }
  imported(reason: string): Promise<void> {
    return eventually(() => isReady(this.dataset, reason), 45_000);
  }
  async trained(version: string): Promise<void> {
    await eventually(
      () => isReady(this.model, "Trained") && this.model.status?.readyVersion === version,
      45_000,
    );
  }

  async declare(script: Script, spec: object = {}): Promise<void> {
    this.script = script;
    this.server.put(datasets, datasetManifest);
    await this.imported("Imported");
    this.apply(spec);
  }
}

const isReady = ({ metadata, status }: Dataset | DeepModel, reason: string): boolean =>
  status?.observedGeneration === metadata.generation &&
  condition(status, "Ready")?.reason === reason;

const withoutDigest = (name: string): string => name.replace(/[0-9a-f]{8}/, "#");

/** All that must not depend on who was killed when. */
const endOf = ({ server, model, dataset }: Tale) => {
  expect(brokenInvariants(model)).toEqual([]);
  const { status } = model;
  return {
    jobs: server.all(jobs).map(({ metadata }) => withoutDigest(metadata.name)),
    conditions: status?.conditions?.map(({ type, status: is, reason }) =>
      [type, is, reason].join(" "),
    ),
    dataset: condition(dataset.status, "Ready")?.reason,
    import: { attempt: dataset.status?.import?.attempt, counted: dataset.status?.import?.counted },
    readyVersion: status?.readyVersion,
    wantedVersion: status?.wantedVersion,
    lastVersionNumber: status?.lastVersionNumber,
    lastHandledRetry: status?.lastHandledRetry,
    versions: server.all(modelVersions).map((object) => {
      const version = ModelVersion.parse(object);
      return {
        name: version.metadata.name,
        isOurs: version.spec.model.uid === model.metadata.uid,
        reason: condition(version.status, "Ready")?.reason,
        countedAttempts: version.status?.countedAttempts,
        attempts: version.status?.attempts?.map(
          ({ state, counted }) => `${state}${counted ? ", counted" : ""}`,
        ),
      };
    }),
  };
};

const importJob = "photos-import-#";
const trainedConditions = [
  "Ready True Trained",
  "Accepted True Accepted",
  "Available True Available",
];
const settledEnd = {
  conditions: trainedConditions,
  dataset: "Imported",
  import: { attempt: 1, counted: 0 },
  readyVersion: "pets-v1",
  wantedVersion: "pets-v1",
  lastVersionNumber: 1,
  lastHandledRetry: undefined,
};
const version = (name: string, attempts: string[], more: object = {}) => ({
  name,
  isOurs: true,
  reason: "Trained",
  countedAttempts: 0,
  attempts,
  ...more,
});

const stories: Story[] = [
  {
    name: "v1 is superseded while it trains",
    started: ["pets-v1-a1", "pets-v2-a1", importJob],
    given: async (tale) => {
      await tale.declare(isOf("pets-v1", trains, publishes));
      await tale.ready("Training");
    },
    tells: async (tale) => {
      tale.apply(epochs(5));
      await tale.ready("Creating");
      tale.pass(STABLE_AFTER_MS);
      await tale.trained("pets-v2");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v2-a1", importJob],
      readyVersion: "pets-v2",
      wantedVersion: "pets-v2",
      lastVersionNumber: 2,
      versions: [
        version("pets-v1", ["Stopped"], { reason: "Superseded" }),
        version("pets-v2", ["Succeeded"]),
      ],
    },
  },
  {
    name: "suspended in mid-training, and resumed",
    started: ["pets-v1-a1", "pets-v1-a2", importJob],
    given: async (tale) => {
      await tale.declare(trains);
      await tale.ready("Training");
    },
    tells: async (tale) => {
      tale.apply({ suspend: true });
      await eventually(() => tale.version("pets-v1")?.status?.attempts?.[0]?.state === "Stopped");
      await tale.ready("Suspended");
      tale.script = publishes;
      tale.apply({ suspend: false });
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a2", importJob],
      versions: [version("pets-v1", ["Stopped", "Succeeded"])],
    },
  },
  {
    name: "prepared on CPU, and trained with a GPU",
    started: ["pets-v1-a1", "pets-v1-a1-prepare", importJob],
    given: async (tale) => {
      tale.script = publishes;
      tale.server.put(datasets, datasetManifest);
      await tale.imported("Imported");
    },
    tells: async (tale) => {
      tale.apply(withGpu);
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a1", "pets-v1-a1-prepare", importJob],
      versions: [version("pets-v1", ["Succeeded"])],
    },
  },
  {
    name: "suspended while it is prepared on CPU, and resumed",
    started: ["pets-v1-a1-prepare", "pets-v1-a2", "pets-v1-a2-prepare", importJob],
    given: async (tale) => {
      await tale.declare(trains, withGpu);
      await tale.ready("Preparing");
    },
    tells: async (tale) => {
      tale.apply({ ...withGpu, suspend: true });
      await eventually(() => tale.version("pets-v1")?.status?.attempts?.[0]?.state === "Stopped");
      await tale.ready("Suspended");
      tale.script = publishes;
      tale.apply({ ...withGpu, suspend: false });
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a2", "pets-v1-a2-prepare", importJob],
      versions: [version("pets-v1", ["Stopped", "Succeeded"])],
    },
  },
  {
    name: "failed for good, and tried again at a word",
    started: ["pets-v1-a1", "pets-v1-a2", importJob],
    given: async (tale) => {
      tale.script = publishes;
      tale.server.put(datasets, datasetManifest);
      await tale.imported("Imported");
    },
    tells: async (tale) => {
      tale.script = () => ({ exitCode: 42 });
      tale.apply({});
      await tale.ready("InputInvalid");
      tale.script = publishes;
      tale.apply({}, { "deeptrain.dev/retry": "once" });
      await tale.trained("pets-v1");
      await eventually(() => tale.model.status?.lastHandledRetry === "once");
    },
    end: {
      ...settledEnd,
      lastHandledRetry: "once",
      jobs: ["pets-v1-a1", "pets-v1-a2", importJob],
      versions: [version("pets-v1", ["Failed, counted", "Succeeded"])],
    },
  },
  {
    name: "its record is lost, and its files are inspected",
    started: ["pets-v1-a1", "pets-v1-a1-inspect", importJob],
    given: async (tale) => {
      tale.script = publishes;
      tale.server.put(datasets, datasetManifest);
      await tale.imported("Imported");
    },
    tells: async (tale) => {
      tale.script = (run) => ({ exitCode: 0, ...(run.task === "train" ? { record: "lost" } : {}) });
      tale.apply({});
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a1", "pets-v1-a1-inspect", importJob],
      versions: [version("pets-v1", ["Succeeded"])],
    },
  },
  {
    name: "v2 takes the place of v1, which is not kept",
    started: ["pets-v1-a1", "pets-v2-a1", importJob],
    given: async (tale) => {
      await tale.declare(publishes, { versionsToKeep: 1 });
      await tale.trained("pets-v1");
    },
    tells: async (tale) => {
      tale.apply({ versionsToKeep: 1, ...epochs(5) });
      await tale.ready("Creating");
      tale.pass(STABLE_AFTER_MS);
      await tale.trained("pets-v2");
      await eventually(() => tale.version("pets-v1") === undefined);
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v2-a1", importJob],
      readyVersion: "pets-v2",
      wantedVersion: "pets-v2",
      lastVersionNumber: 2,
      versions: [version("pets-v2", ["Succeeded"])],
    },
  },
  {
    name: "deleted and made again, with a garbage collector that takes its time",
    started: ["pets-v1-a1", "pets-v1-a1", importJob],
    given: async (tale) => {
      await tale.declare(publishes);
      await tale.trained("pets-v1");
    },
    tells: async (tale) => {
      const { storage } = tale.server;
      storage.collectsGarbage = false;
      tale.server.remove(deepModels, "shop/pets");
      tale.apply({});
      await tale.ready("Creating");
      storage.collectsGarbage = true;
      tale.server.remove(modelVersions, "shop/pets-v1");
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a1", importJob],
      versions: [version("pets-v1", ["Succeeded"])],
    },
  },
  {
    name: "the import fails for good, and is cured",
    started: ["pets-v1-a1", importJob, `${importJob}-a2`],
    given: async (tale) => {
      tale.apply({});
      await tale.ready("DatasetNotFound");
    },
    tells: async (tale) => {
      tale.script = () => ({ exitCode: 42 });
      tale.server.put(datasets, datasetManifest);
      await tale.imported("ImportFailed");
      await tale.ready("DatasetFailed");
      tale.script = publishes;
      const source = { http: { url: "http://data.test/whole.tar.gz" } };
      tale.server.put(datasets, { ...datasetManifest, spec: { source, format: "imageFolder" } });
      await tale.trained("pets-v1");
    },
    end: {
      ...settledEnd,
      jobs: ["pets-v1-a1", importJob, `${importJob}-a2`],
      import: { attempt: 2, counted: 0 },
      versions: [version("pets-v1", ["Succeeded"])],
    },
  },
];

/** Plays a story; kills the operator after the given of its writes, and starts another. */
const played = async (story: Story, killAfter?: number) => {
  const scene = await Scene.open();
  const tale = new Tale(scene);
  const { server, kubelet } = scene;
  try {
    await tale.begin();
    await story.given(tale);
    await settled(server);
    const first = server.writes.length;
    let revival: Promise<void> | undefined;
    if (killAfter !== undefined) {
      void server.faults.killAtWrite(first + killAfter, "after").then(() => {
        revival = scene.operator?.stop().then(() => {
          server.faults.revive();
          return tale.begin();
        });
      });
    }
    await story.tells(tale);
    await settled(server);
    if (revival !== undefined) {
      await revival;
      await settled(server);
    }
    return {
      end: endOf(tale),
      started: kubelet.started.map(withoutDigest).sort(),
      writes: server.writes.length - first,
      wasKilled: revival !== undefined,
    };
  } finally {
    await scene.close();
  }
};

describe.concurrent("killed after each of its writes", () => {
  test.each(stories)(
    "$name",
    async (story) => {
      const undisturbed = await played(story);
      expect(undisturbed.end).toEqual(story.end);
      expect(undisturbed.started).toEqual(story.started);
      const failures: string[] = [];
      const kills = await Promise.all(
        Array.from({ length: undisturbed.writes }, async (_, index) => {
          try {
            const { end, started, wasKilled } = await played(story, index + 1);
            expect(end).toEqual(story.end);
            expect(started, "no Job twice").toEqual(story.started);
            return wasKilled;
          } catch (error) {
            failures.push(`after write ${index + 1}: ${error}`);
            return true;
          }
        }),
      );
      expect(failures).toEqual([]);
      // A write more or less is chance: two looks at an object may become one.
      expect(kills.filter(Boolean).length).toBeGreaterThan(undisturbed.writes - 3);
    },
    60_000,
  );
});
