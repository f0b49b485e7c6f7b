using Contracts;

namespace Api.Http;

/// <summary>What is sent.</summary>
public static partial class OpenApiExamples
{
    private static readonly Dictionary<string, string> Train = new() { ["app"] = "train" };

    private static IEnumerable<object> Requests() =>
    [
        new SandboxCreate("train-1", "guest", 2, 1024, [new("edu", 1, "1234", null, VerdictClass.PassthroughOnly)], Viommu.Smmuv3, new(3600, LeaseEnd.Delete), Train, "#!/bin/sh\necho ready\n", null, Vmm.Qemu, null,
            new(1000, 30, StormAction.Stop, null), 0, new(PlacementStrategy.Pack, null, Train, NumaLocality.Preferred), new(RestartWhen.OnFailure, 5, 30), HugePageSize.None),
        new SandboxPatch(new Dictionary<string, string?> { ["app"] = "serve", ["old"] = null }, 10, new(RestartWhen.OnFailure, 5, 30)),
        new AcceleratorRequest("edu", 1, "1234", null, VerdictClass.PassthroughOnly),
        new LeaseRequest(3600, LeaseEnd.Delete, 900),
        new RestartRequest(RestartWhen.OnFailure, 5, 30),
        new StormPolicyRequest(1000, 30, StormAction.Stop, null),
        new PlacementRequest(PlacementStrategy.Pack, null, Train, NumaLocality.Preferred),
        new ProjectCreate("vision", new(20, 64, 131_072, new Dictionary<string, int?> { ["edu"] = 4 }, 10)),
        new ProjectPatch(new(null, 128, null, null)),
        new QuotasPatch(20, 64, 131_072, new Dictionary<string, int?> { ["edu"] = 4 }, 10),
        new KeyCreate("ci", Role.Operator, At.AddYears(1)),
        new KeyRotate(3600),
        new SessionCreate("sbx_…"),
        new WebhookCreate("https://example.com/hook", "The deployment's", ["sandbox.*"], new Dictionary<string, string> { ["app"] = "train" }, null, null),
        new WebhookPatch(null, null, null, null, true),
        new WebhookRotate(86_400, null),
        new WebhookRedeliver(At),
        new ExecCreate(["uname", "-a"], new Dictionary<string, string> { ["LANG"] = "C" }, "/root", 0, 60, null),
        new ExecSignal("TERM"),
        new DeviceQuarantine("Its fan is loud."),
        new JoinTokenCreate("host-7", 3600, null),
        new NodeJoin(new("019b7c4d-02aa-73b9-9cda-074961c53d98")),
        new NodeDrainRequest(1800, "New firmware."),
        new NodeMaintenanceRequest(new(1800, "New firmware.")),
        new ImageCreate("debian", false, "arm64", "Debian 13", false, null, DiskFormat.Qcow2, new Dictionary<string, ImageFileRequest?> { ["disk"] = new(Sha256, 335_544_320, DebianUrl) }),
    ];
}
