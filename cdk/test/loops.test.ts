import assert from "node:assert/strict";
import { test } from "node:test";

import { STAGES } from "../lib/permissions.ts";
import { CLOUDFRONT, functionOf, repository, resources, stackTemplate, statementsOfRole, template, VARIANTS } from "./support.ts";

/** The logical id in a reference, whatever else it is joined with. */
function idIn(value: any): string | undefined {
  const parts: any[] = value?.["Fn::Join"]?.[1] ?? [value];
  return parts.map((part) => part?.Ref ?? part?.["Fn::GetAtt"]?.[0]).find((id) => id && !id.startsWith("AWS::"));
}

/**
 * The logical ids of the functions that an action on a resource invokes: a message to a queue, an
 * object in a bucket, an event on a bus, or a call.
 */
function wokenBy(template: any, action: string, resource: string): string[] {
  switch (action) {
    case "sqs:SendMessage": {
      const letters = idIn(template.Resources[resource].Properties.RedrivePolicy?.deadLetterTargetArn);
      const queues = letters ? [resource, letters] : [resource];
      const mappings = resources(template, "AWS::Lambda::EventSourceMapping").map(([, it]) => it.Properties);
      const woken = mappings.filter((mapping) => queues.includes(idIn(mapping.EventSourceArn)!));
      return woken.map((mapping) => idIn(mapping.FunctionName)!);
    }
    case "s3:PutObject":
    case "s3:DeleteObject": {
      const { NotificationConfiguration: told } = template.Resources[resource].Properties;
      const queues = (told?.QueueConfigurations ?? []).map(({ Queue }: any) => idIn(Queue)!);
      const functions = (told?.LambdaConfigurations ?? []).map(({ Function }: any) => idIn(Function)!);
      return [...functions, ...queues.flatMap((queue: string) => wokenBy(template, "sqs:SendMessage", queue))];
    }
    case "events:PutEvents": {
      const rules = resources(template, "AWS::Events::Rule").map(([, it]) => it.Properties);
      const targets = rules.filter((rule) => idIn(rule.EventBusName) === resource).flatMap((rule) => rule.Targets);
      return targets.flatMap(({ Arn }: any) => {
        const id = idIn(Arn)!;
        return template.Resources[id].Type === "AWS::SQS::Queue" ? wokenBy(template, "sqs:SendMessage", id) : [id];
      });
    }
    case "lambda:InvokeFunction":
      return [resource];
    default:
      return [];
  }
}

/**
 * The functions that may invoke themselves, directly or through others, according to the rights of
 * their roles.
 */
function loops(template: any): string[] {
  const woken = new Map<string, Set<string>>();
  for (const [id, { Properties }] of resources(template, "AWS::Lambda::Function")) {
    const allowed = statementsOfRole(template, idIn(Properties.Role)!).filter(({ Effect }) => Effect === "Allow");
    const each = allowed.flatMap(({ Action, Resource }) => {
      return [Action].flat().flatMap((action) => [Resource].flat().flatMap((resource) => {
        const of = idIn(resource);
        return of && template.Resources[of] ? wokenBy(template, action, of) : [];
      }));
    });
    woken.set(id, new Set(each));
  }
  const reached = (from: string) => {
    const found = new Set<string>();
    const left = [...woken.get(from)!];
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      if (!found.has(id)) left.push(...(woken.get(id) ?? []));
      found.add(id);
    }
    return found;
  };
  return [...woken.keys()].filter((id) => reached(id).has(id)).map((id) => template.Resources[id].Properties.Handler);
}

/** https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html */
test("exactly the functions whose rights allow a loop may run in loops", () => {
  const variants = [...Object.values(VARIANTS), ...Object.values(CLOUDFRONT)].map((props) => template(repository(props)));
  for (const of of [stackTemplate(), ...variants]) {
    const allowed = STAGES.filter((stage) => functionOf(of, stage)[1].Properties.RecursiveLoop === "Allow");
    assert.deepEqual(loops(of).sort(), [...allowed].sort());
    assert.ok(allowed.includes("large"), "a run of a large upload sends the message for the next");
  }
});

test("a new loop is found, whichever resources it passes", () => {
  const before = loops(stackTemplate());
  assert.ok(!before.includes("refresh") && !before.includes("serve") && !before.includes("pack"));
  const grant = (of: any, stage: string, action: string, resource: string) => {
    const role = of.Resources[idIn(functionOf(of, stage)[1].Properties.Role)!];
    role.Properties.Policies[0].PolicyDocument.Statement.push({
      Effect: "Allow",
      Action: action,
      Resource: { "Fn::Join": ["", [{ "Fn::GetAtt": [resource, "Arn"] }, "/*"]] },
    });
  };
  const refresh = functionOf(stackTemplate(), "refresh")[0];
  const consume = (of: any, queue: string) => {
    const [id] = resources(of, "AWS::SQS::Queue").find(([, it]) => it.Properties.QueueName === `Tufline-${queue}`)!;
    of.Resources.New = {
      Type: "AWS::Lambda::EventSourceMapping",
      Properties: { EventSourceArn: { "Fn::GetAtt": [id, "Arn"] }, FunctionName: { Ref: refresh } },
    };
    return of;
  };
  for (const queue of ["publish.fifo", "publish-dlq.fifo"]) {
    assert.deepEqual(loops(consume(stackTemplate(), queue)).sort(), [...before, "refresh"].sort(), queue);
  }
  const uploading = stackTemplate();
  const [bucket] = resources(uploading, "AWS::S3::Bucket").find(([id]) => id.startsWith("RepositoryUploads"))!;
  const invoking = stackTemplate();
  grant(invoking, "refresh", "lambda:InvokeFunction", refresh);
  assert.deepEqual(loops(invoking).sort(), [...before, "refresh"].sort());
  // Serve invokes hash by an upload, and hash invokes serve.
  grant(uploading, "serve", "s3:PutObject", bucket);
  grant(uploading, "hash", "lambda:InvokeFunction", functionOf(uploading, "serve")[0]);
  assert.deepEqual(loops(uploading).sort(), [...before, "serve"].sort());
});
