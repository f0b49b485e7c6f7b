using System.Text.Json;
using System.Text.Json.Nodes;
using Api.Sandboxes;
using Contracts;

namespace Api.Http;

/// <summary>What bodies look like, for the document of the API: values of the records themselves, so that they cannot name a field that is not there.</summary>
public static class OpenApiExamples
{
    private static readonly DateTimeOffset At = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
    private static readonly Guid Id = new("019a4c4e-7d60-7b11-9b5e-6f0d3a8f2c10");

    private static readonly Dictionary<Type, object> Values = new object[]
    {
        new SandboxCreate("train-1", "guest", 2, 1024, [new("edu", 1, "1234", null, VerdictClass.PassthroughOnly)], Viommu.Smmuv3, new(3600, LeaseEnd.Delete), new Dictionary<string, string> { ["app"] = "train" }, "#!/bin/sh\necho ready\n", null, Vmm.Qemu, null, Priority: 0,
            Placement: new(PlacementStrategy.Pack, null, new Dictionary<string, string> { ["app"] = "train" }, NumaLocality.Preferred)),
        new SandboxPatch(new Dictionary<string, string?> { ["app"] = "serve", ["old"] = null }, 10, new(RestartWhen.OnFailure, 5, 30)),
        new AcceleratorRequest("edu", 1, "1234", null, VerdictClass.PassthroughOnly),
        new LeaseRequest(3600, LeaseEnd.Delete, 900),
        new RestartRequest(RestartWhen.OnFailure, 5, 30),
        new StormPolicyRequest(1000, 30, StormAction.Stop, null),
        new PlacementRequest(PlacementStrategy.Pack, null, new Dictionary<string, string> { ["app"] = "train" }, NumaLocality.Preferred),
        new PlacementView(false, null, "None of 1 node(s) can take it now.", [new("NotEnoughDevices", 1, PlacementReasons.All["NotEnoughDevices"].Message, PlacementReasons.All["NotEnoughDevices"].Remedy)], [new(Id, "host-7", "NotEnoughDevices")]),
        new SandboxView(Id, "train-1", "guest", 2, 1024, [new("edu", 1)], Viommu.Smmuv3, new(At.AddHours(1), LeaseEnd.Delete), new Dictionary<string, string> { ["app"] = "train" }, true, 0, DesiredState.Running, Phase.Pending, 1, 0,
            null, null, null, [], null, [], [new(Phase.Pending, At)], null, null, null, null, null, null, At, At, Vmm.Qemu, null, null, 0, null, null),
        new NodeView(Id, "host-7", NodePhase.Cordoned, At, "1.0.0", null, 2, 1024, 1, 4),
        new AuditEntryView(7, At, Id.ToString(), "ci", "192.0.2.7", "POST /v1/sandboxes/{id}/stop", "sandbox", Id.ToString(), "train-1", new JsonObject { ["desired"] = "Running" }, new JsonObject { ["desired"] = "Stopped" }),
        new SandboxesDeleted(100, Id.ToString()),
        new ProjectCreate("vision", new(20, 64, 131_072, new Dictionary<string, int?> { ["edu"] = 4 }, 10)),
        new ProjectPatch(new(null, 128, null, null)),
        new ProjectView(Id, "vision", false, new(20, 64, 131_072, new Dictionary<string, int> { ["edu"] = 4 }, 10), new(3, 6, 3072, new Dictionary<string, int> { ["edu"] = 1 }), At),
        new KeyCreate("ci", Role.Operator, At.AddYears(1)),
        new KeyRotate(3600),
        new KeyView(Id, "ci", Role.Operator, "sbx_Hq3vT0aZ", At, At.AddYears(1), At.AddDays(1), null),
        new KeyCreated(new(Id, "ci", Role.Operator, "sbx_Hq3vT0aZ", At, At.AddYears(1), null, null), "sbx_…"),
        new SessionCreate("sbx_…"),
        new SessionView("ci", "vision", Role.Operator, false),
        new WebhookCreate("https://example.com/hook", "The deployment's", ["sandbox.*"], new Dictionary<string, string> { ["team"] = "red" }, null, null),
        new WebhookPatch(null, null, null, null, true),
        new WebhookRotate(86_400, null),
        new WebhookSecretView("whsec_…", At.AddDays(1)),
        new WebhookRedeliver(At),
        new WebhookRedelivered(12),
        new ExecCreate(["uname", "-a"], new Dictionary<string, string> { ["LANG"] = "C" }, "/root", 0, 60, null),
        new ExecAnswer(Id, "Linux\n"u8.ToArray(), [], false, new("Done", 0, null)),
        new ExecSignal("TERM"),
        new GuestFileView("/root/train.py", 5, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"),
        new DeviceQuarantine("Its fan is loud."),
        new JoinTokenCreate("host-7", 3600, null),
        new JoinTokenView("host-7", "sbj_…", At.AddHours(1)),
        new NodeJoin(Id),
        new NodeJoined(Id, "host-7", "sbn_…"),
        new NodeDrainRequest(1800, "New firmware."),
        new NodeMaintenanceRequest(new(1800, "New firmware.")),
        new DeviceClassView("edu", "QEMU's teaching device: a DMA engine without PASID, ATS or PRI.", Origin.Emulated, 4, 3),
        new ImageCreate("debian", false, "arm64", "Debian 13", false, null, DiskFormat.Qcow2, new Dictionary<string, ImageFileRequest?> { ["disk"] = new("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", 335_544_320, "https://example.com/debian-13-genericcloud-arm64.qcow2") }),
        new ImageView("debian", "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "arm64", "Debian 13", false, 335_544_320, null, ImageSource.Project, Id, ImagePhase.Ready, null, null, DiskFormat.Qcow2,
            [new(ImageFileRole.Disk, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", 335_544_320, null, true)], At, At),
        new EventView(42, At, "sandbox.phaseChanged", Id, "train-1", "Running", "train-1 is Running.", Phase.Running),
    }.ToDictionary(v => v.GetType());

    public static JsonNode? Of(Type type)
    {
        if (!Values.TryGetValue(type, out var value)) return null;
        var example = JsonSerializer.SerializeToNode(value, type, JsonSerializerOptions.Web)!;
        if (OpenApiBodies.IsBody(type)) foreach (var name in example.AsObject().Where(p => p.Value is null).Select(p => p.Key).ToList()) example.AsObject().Remove(name);
        return example;
    }
}
