using System.Text.Json;
using Api.Devices;
using Api.Events;
using Api.Guests;
using Api.Http;
using Api.Images;
using Api.Nodes;
using Api.Projects;
using Api.Replicas;
using Api.Webhooks;
using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Sandbox = Api.Sandboxes.Sandbox;

namespace Api.Audit;

/// <summary>What the audit log tells of each kind of row: a name for the kind, who it is, and what is shown of it. No secret, no hash, no user data.
/// Each entity stands here or among those that nobody changes by asking (a test walks the model); one in neither is told without its content.</summary>
public static class AuditViews
{
    public sealed record Subject(string Type, string? Id, string? Name, object? Shown);

    /// <summary>Consequences and bookkeeping: their causes are told.</summary>
    public static readonly IReadOnlySet<Type> NotTold = new HashSet<Type> { typeof(AuditEntry), typeof(IdempotencyKey), typeof(Event), typeof(DataProtectionKey), typeof(NodeInventoryRow), typeof(NodeImage), typeof(EventCounter), typeof(RetiredNodeToken), typeof(Replica), typeof(WebhookDelivery), typeof(StoredImageFile), typeof(ImageContent), typeof(ImageDownload) };

    private static readonly Dictionary<Type, Func<object, Subject>> Views = new()
    {
        [typeof(Sandbox)] = Of<Sandbox>(s => new("sandbox", s.Id.ToString(), s.Name, new
        {
            s.Name, s.Image, s.ImageId, s.Vcpus, s.MemoryMib, s.HugePages, s.Accelerators, s.Viommu, s.Vmm, s.WantedNode, s.Priority, Placement = s.Rules, s.Labels, s.LeaseExpiresAt, s.LeaseOnExpiry, s.LeaseIdleTimeoutSeconds, s.Restart,
            HasUserData = s.UserData is not null, SshKeyCount = s.SshKeys.Count, s.FaultStorm, s.Desired, s.Phase, s.Generation,
        })),
        [typeof(Project)] = Of<Project>(p => new("project", p.Id.ToString(), p.Name, new { p.Name, p.Operates, p.Quotas })),
        [typeof(ApiKey)] = Of<ApiKey>(k => new("key", k.Id.ToString(), k.Name, new { k.ProjectId, k.Name, k.Role, k.Prefix, k.ExpiresAt, k.PreviousUntil })),
        [typeof(WebhookEndpoint)] = Of<WebhookEndpoint>(w => new("webhook", w.Id.ToString(), new Uri(w.Url).Host, new { w.Url, w.Description, w.Types, w.Labels, w.Disabled, w.PreviousSecretUntil, w.UpdatedAt })),
        [typeof(RegisteredImage)] = Of<RegisteredImage>(i => new("image", i.Id.ToString(), i.Name, new { i.Name, Shared = i.ProjectId is null, i.Architecture, i.KernelVersion, i.HasAgent, i.CommandLine, i.DiskFormat, i.Files, i.Phase, i.Failure, i.UpdatedAt })),
        [typeof(Session)] = Of<Session>(s => new("session", s.Id.ToString(), s.Name, new { s.KeyId, s.Subject, s.Name, s.Role, s.ExpiresAt })),
        [typeof(Node)] = Of<Node>(n => new("node", n.Id.ToString(), n.Name, new { n.Name, n.Installation, n.Phase, n.IsCordoned, n.Drain, n.MaintenanceSince, n.RotationWantedAt })),
        [typeof(JoinToken)] = Of<JoinToken>(t => new("joinToken", t.Id.ToString(), t.Name, new { t.Name, t.Replace, t.ExpiresAt, t.UsedBy })),
        [typeof(Device)] = Of<Device>(d => new("device", d.Id.ToString(), d.Address, new { d.NodeId, d.Address, d.Class, d.Phase, d.SandboxId, d.Quarantine, d.OperatorQuarantine })),
    };

    public static bool Knows(Type entity) => Views.ContainsKey(entity);

    public static Subject Describe(object row) => Views.TryGetValue(row.GetType(), out var view) ? view(row) : new(row.GetType().Name, null, null, null);

    public static string? Json(object? shown) => shown is null ? null : JsonSerializer.Serialize(shown, JsonSerializerOptions.Web);

    private static Func<object, Subject> Of<T>(Func<T, Subject> view) => row => view((T)row);
}
