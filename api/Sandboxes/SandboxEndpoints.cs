using Api.Data;
using Api.Events;
using Api.Http;
using Api.Projects;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Sandboxes;

public static class SandboxEndpoints
{
    public static void MapSandboxes(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/sandboxes").WithTags("Sandboxes");
        group.MapPost("/", Create).Requires(Role.Operator).WithSummary("Ask for a sandbox. Answers at once; follow it with GET and waitFor, or by events.")
            .Produces<SandboxView>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/", SandboxListing.List).Requires(Role.Viewer).WithSummary("Sandboxes of the project, oldest first, by filters that all hold.")
            .WithDescription("phase: one or several, repeated or with commas, of which one holds; label: key=value, repeated for several that all hold; node: a node's id or name; class: a device class that is asked for; namePrefix. A page goes on with after; what is made meanwhile comes last.")
            .Produces<Page<SandboxView>>().ProducesProblem(422);
        group.MapDelete("/", SandboxListing.DeleteMany).Requires(Role.Operator).WithSummary("Delete what carries labels: at most 100 at once; next goes on with after until it is null.")
            .Produces<SandboxesDeleted>().ProducesProblem(422);
        group.MapPatch("/{id:guid}", SandboxPatching.Patch).Requires(Role.Operator).WithSummary("Change labels, priority and restart policy, by JSON merge patch: null takes a label, or the policy, away. Needs If-Match.")
            .Accepts<SandboxPatch>(MergePatch.ContentType, "application/json").Produces<SandboxView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412).ProducesProblem(422).ProducesProblem(428);
        group.MapGet("/{id:guid}", SandboxReading.Get).Requires(Role.Viewer).WithSummary("One sandbox. waitFor holds the answer until a phase or a true condition is reached (in any case of letters), or timeoutSeconds (1 to 60) have passed.")
            .Produces<SandboxView>().Produces(204).ProducesProblem(404).ProducesProblem(422);
        group.MapPost("/{id:guid}/start", Start).Requires(Role.Operator).WithSummary("Start a stopped or failed sandbox: it is placed anew.").Produces<SandboxView>(202).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        group.MapPost("/{id:guid}/stop", Stop).Requires(Role.Operator).WithSummary("Power the guest off and give its devices back.").Produces<SandboxView>(202).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        group.MapPost("/{id:guid}/restart", Restart).Requires(Role.Operator).WithSummary("End the guest and start another on the same node and devices.").Produces<SandboxView>(202).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        group.MapPut("/{id:guid}/storm-policy", (Guid id, StormPolicyRequest? policy, HttpContext http, StormPolicies policies, CancellationToken ct) => policies.SetAsync(id, policy, http.User, IfMatch.Of(http), ct)).Requires(Role.Operator)
            .WithSummary("Say from what rate of faults on it is in a storm, and what happens then; its guest goes on.").Produces<SandboxView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412).ProducesProblem(422);
        group.MapDelete("/{id:guid}/storm-policy", (Guid id, HttpContext http, StormPolicies policies, CancellationToken ct) => policies.RemoveAsync(id, http.User, IfMatch.Of(http), ct)).Requires(Role.Operator)
            .WithSummary("Judge its faults no more.").Produces<SandboxView>().ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        group.MapPut("/{id:guid}/lease", (Guid id, LeaseRequest? lease, HttpContext http, SandboxLeases leases, CancellationToken ct) => leases.SetAsync(id, lease, http.User, IfMatch.Of(http), ct)).Requires(Role.Operator)
            .WithSummary("Give it another lease, from now on: to live longer, or shorter.").Produces<SandboxView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(412).ProducesProblem(422);
        group.MapDelete("/{id:guid}/lease", (Guid id, HttpContext http, SandboxLeases leases, CancellationToken ct) => leases.RemoveAsync(id, http.User, IfMatch.Of(http), ct)).Requires(Role.Operator)
            .WithSummary("Let it live until it is deleted.").Produces<SandboxView>().ProducesProblem(404).ProducesProblem(409).ProducesProblem(412);
        group.MapDelete("/{id:guid}", Delete).Requires(Role.Operator).WithSummary("End the guest at once and remove everything of it.").Produces<SandboxView>(202).Produces(204).ProducesProblem(404).ProducesProblem(412);
    }

    private static async Task<IResult> Create(SandboxCreate? create, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var (asked, refusal) = await SandboxAdmission.ReadAsync(create, http.User, db, time.GetUtcNow(), ct);
        if (asked is not { } sandbox) return refusal!;
        // Creates of a project wait here for each other: two must not both take its last place.
        await using var transaction = await db.BeginAsync(ct);
        if (await Quotas.LockAsync(db, sandbox.ProjectId, ct) is not { } project) return ProjectEndpoints.NotFound();
        if (await SandboxAdmission.RefusalAsync(db, project, sandbox, ct) is { } refused) return refused;
        db.Sandboxes.Add(sandbox);
        db.Events.Add(Event.Of(sandbox, EventType.SandboxCreated, "Created", $"{sandbox.Name} was asked for by {http.User.Identity!.Name}.", sandbox.CreatedAt));
        try
        {
            await db.SaveChangesAsync(ct);
            await transaction.CommitAsync(ct);
        }
        catch (DbUpdateException e) when (e.InnerException is PostgresException { SqlState: PostgresErrorCodes.UniqueViolation })
        {
            return SandboxAdmission.NameTaken(sandbox.Name);
        }
        catch (DbUpdateException e) when (e.InnerException is PostgresException { SqlState: PostgresErrorCodes.ForeignKeyViolation } && sandbox.ImageId is not null)
        {
            // It was deleted just now.
            return SandboxAdmission.ImageNotFound(sandbox.Image);
        }
        return Results.Created($"/v1/sandboxes/{sandbox.Id}", SandboxViews.Of(sandbox, null, [])).Tagged(sandbox.Version);
    }

    /// <summary>Of a valid request.</summary>
    public static Sandbox From(SandboxCreate create, Guid project, Guid? registeredImage, DateTimeOffset now)
    {
        var sandbox = new Sandbox
        {
            Id = Guid.CreateVersion7(now),
            ProjectId = project,
            Name = create.Name!,
            Image = create.Image!,
            ImageId = registeredImage,
            Vcpus = create.Vcpus ?? 1,
            MemoryMib = create.MemoryMib ?? SandboxValidation.DefaultMemoryMib,
            Accelerators = (create.Accelerators ?? []).Select(a => new AcceleratorCount(a.Class!, a.Count ?? 1, a.VendorId?.ToLowerInvariant(), a.DeviceId?.ToLowerInvariant(), a.MinVerdict)).ToList(),
            HugePages = create.HugePages ?? HugePageSize.None,
            Viommu = create.Viommu ?? SandboxValidation.DefaultViommu(create.Vmm),
            Vmm = create.Vmm ?? Vmm.Qemu,
            WantedNode = create.Node,
            Priority = create.Priority ?? 0,
            Rules = create.Placement is { } rules ? new(rules.Strategy ?? PlacementStrategy.Spread, rules.With, rules.ApartFrom, rules.Numa ?? NumaLocality.Any, rules.Preempts ?? false) : null,
            LeaseExpiresAt = create.Lease?.TtlSeconds is { } ttl ? now.AddSeconds(ttl) : null,
            LeaseIdleTimeoutSeconds = create.Lease?.IdleTimeoutSeconds,
            LeaseOnExpiry = create.Lease is null ? null : create.Lease.OnExpiry ?? LeaseEnd.Delete,
            Labels = create.Labels?.ToDictionary() ?? [],
            UserData = create.UserData,
            SshKeys = create.SshKeys?.ToList() ?? [],
            FaultStorm = StormPolicies.Of(create.FaultStorm),
            Restart = RestartDecision.Of(create.Restart),
            Desired = DesiredState.Running,
            Generation = 1,
            CreatedAt = now,
        };
        sandbox.Enter(Phase.Pending, now);
        return sandbox;
    }

    private static Task<IResult> Start(Guid id, HttpContext http, SandboxWishes wishes, CancellationToken ct) => wishes.StartAsync(id, http.User.ProjectId(), IfMatch.Of(http), ct);
    private static Task<IResult> Stop(Guid id, HttpContext http, SandboxWishes wishes, CancellationToken ct) => wishes.StopAsync(id, http.User.ProjectId(), IfMatch.Of(http), ct);
    private static Task<IResult> Restart(Guid id, HttpContext http, SandboxWishes wishes, CancellationToken ct) => wishes.RestartAsync(id, http.User.ProjectId(), IfMatch.Of(http), ct);
    private static Task<IResult> Delete(Guid id, HttpContext http, SandboxWishes wishes, CancellationToken ct) => wishes.DeleteAsync(id, http.User.ProjectId(), IfMatch.Of(http), ct);
}
