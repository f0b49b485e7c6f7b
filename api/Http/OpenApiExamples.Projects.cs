using System.Text.Json.Nodes;
using Api.Images;
using Api.Webhooks;
using Contracts;
using Microsoft.AspNetCore.Mvc;

namespace Api.Http;

/// <summary>A project with its keys, its audit log, its webhooks and its images.</summary>
public static partial class OpenApiExamples
{
    private const string DebianUrl = "https://example.com/debian-13-genericcloud-arm64.qcow2";

    private static IEnumerable<object> OfProjects()
    {
        var project = new ProjectView(ProjectId, "vision", false, new(20, 64, 131_072, new Dictionary<string, int> { ["edu"] = 4 }, 10), new(1, 2, 1024, new Dictionary<string, int> { ["edu"] = 1 }, 1, 335_544_320), At.AddDays(-1));
        var key = new KeyView(KeyId, "ci", Role.Operator, "sbx_Hq3vT0aZ", At.AddDays(-1), At.AddYears(1), At, null);
        var entry = new AuditEntryView(7, At.AddMinutes(5), KeyId.ToString(), "ci", "192.0.2.7", "POST /v1/sandboxes/{id}/stop", "sandbox", SandboxId.ToString(), "train-1", new JsonObject { ["desired"] = "Running" }, new JsonObject { ["desired"] = "Stopped" });
        return
        [
            project, PageOf(project), key, PageOf(key), entry, PageOf(entry),
            new KeyCreated(key with { LastUsedAt = null }, "sbx_…"),
            new SessionView("ci", "vision", Role.Operator, false),
            new ProblemDetails
            {
                Type = "about:blank", Title = ApiProblem.Title(404), Status = 404, Detail = "There is no sandbox with that id.", Extensions = { ["code"] = "sandbox_not_found" },
            },
        ];
    }

    private static IEnumerable<object> OfWebhooks()
    {
        var webhook = new WebhookView(WebhookId, "https://example.com/hook", "The deployment's", ["sandbox.*"], Train, true, null, At.AddSeconds(12), null, null, At.AddHours(-1), At.AddHours(-1));
        var delivery = new WebhookDeliveryView(
            17, WebhookDelivery.WebhookId(WebhookId, 17), Happened.Number, Happened.Type, SandboxId, Happened.At, DeliveryState.Pending, 1, At.AddSeconds(17), At.AddSeconds(12), 503,
            WebhookReasons.Failure(WebhookReasons.StatusRefused, At.AddSeconds(12), 503), "Busy.", 84);
        return
        [
            webhook, PageOf(webhook), delivery, PageOf(delivery),
            new WebhookCreated(webhook with { FailingSince = null }, "whsec_…"),
            new WebhookSecretView("whsec_…", At.AddDays(1)),
            new WebhookRedelivered(12),
        ];
    }

    private static IEnumerable<object> OfImages()
    {
        var image = new ImageView(
            "debian", $"sha256:{Sha256}", ImageRules.Architecture, "Debian 13", false, 335_544_320, null, ImageSource.Project, ImageId, ImagePhase.Failed, ImageReasons.Failure(ImageReasons.DigestDiffers, At.AddMinutes(-30)), null, DiskFormat.Qcow2,
            [new(ImageFileRole.Disk, Sha256, 335_544_320, DebianUrl, false)], At.AddHours(-1), At.AddMinutes(-30));
        var ready = image with { Phase = ImagePhase.Ready, Failure = null, Files = [image.Files![0] with { Stored = true }] };
        return [ready, new Page<ImageView>([ready, image with { Id = new("019b7c56-0a1b-74c2-8d3e-4f5061728394"), Name = "debian-old" }], null)];
    }
}
