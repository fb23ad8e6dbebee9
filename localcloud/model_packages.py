"""SageMaker's Model Registry: groups of model packages, which are the versions of a model."""

import threading
import time

from localcloud.accepted import ANY, Table, check
from localcloud.errors import AwsError, validation
from localcloud.paging import created_within, ordered, page
from localcloud.settings import ACCOUNT, REGION
from localcloud.store import Store

GROUP = "model-package-group"
PACKAGE = "model-package"
PAGE = 100
RECORDED = (  # what a package says of its model: kept and shown, and nothing is done with it
    "ModelPackageDescription", "ModelPackageRegistrationType", "InferenceSpecification",
    "SourceAlgorithmSpecification", "ModelApprovalStatus", "MetadataProperties", "ModelMetrics", "Domain",
    "Task", "SamplePayloadUrl", "CustomerMetadataProperties", "DriftCheckBaselines", "SkipModelValidation",
    "AdditionalInferenceSpecifications", "SourceUri", "ModelCard", "ModelLifeCycle",
)  # fmt: skip
CREATED: Table = {
    **dict.fromkeys(RECORDED, ANY),
    "ModelPackageGroupName": ANY,
    "CertifyForMarketplace": (False,),
    "ClientToken": ANY,
}
REPLACED = (
    "ModelApprovalStatus", "ModelPackageRegistrationType", "ApprovalDescription", "InferenceSpecification",
    "SourceUri", "ModelCard", "ModelLifeCycle",
)  # fmt: skip
GROUP_SUMMARY = (
    "ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupDescription", "CreationTime",
    "ModelPackageGroupStatus",
)  # fmt: skip
PACKAGE_SUMMARY = (
    "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription",
    "CreationTime", "ModelPackageStatus", "ModelApprovalStatus", "ModelLifeCycle",
    "ModelPackageRegistrationType",
)  # fmt: skip


class ModelRegistry:
    """Documents in the store. A package has the name of its group, and a version that is never used again."""

    def __init__(self, store: Store):
        self._store = store
        self._lock = threading.RLock()

    def operations(self) -> dict:
        """The name of each operation -> what answers it, as ``sagemaker.install`` takes them."""
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": lambda params, _: self.describe_group(params),
            "ListModelPackageGroups": lambda params, _: self.list_groups(params),
            "DeleteModelPackageGroup": lambda params, _: self.delete_group(params),
            "CreateModelPackage": lambda params, _: self.create(params),
            "DescribeModelPackage": lambda params, _: self.describe(params),
            "UpdateModelPackage": lambda params, _: self.update(params),
            "ListModelPackages": lambda params, _: self.list_versions(params),
            "DeleteModelPackage": lambda params, _: self.delete(params),
        }

    def create_group(self, params: dict, bookkeeping) -> dict:
        """CreateModelPackageGroup; moto keeps the tags."""
        table = {"ModelPackageGroupName": ANY, "ModelPackageGroupDescription": ANY, "Tags": ANY}
        check("CreateModelPackageGroup", params, "ModelPackageGroupName", table)
        name = params["ModelPackageGroupName"]
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{GROUP}/{name}"
        with self._lock:
            if self._store.get(GROUP, name):
                raise validation(f"Model Package Group already exists: {arn}")
            bookkeeping()
            kept = {member: value for member, value in params.items() if member != "Tags"}
            self._store.put(GROUP, name, {
                **kept,
                "ModelPackageGroupArn": arn,
                "ModelPackageGroupStatus": "Completed",
                "CreationTime": time.time(),
                "LastVersion": 0,
            })  # fmt: skip
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, params: dict) -> dict:
        group = self._group(params)
        return {**{m: group[m] for m in GROUP_SUMMARY if m in group}, "CreatedBy": {}}

    def list_groups(self, params: dict) -> dict:
        found = [d for d in self._store.all(GROUP) if _matches(d, "ModelPackageGroupName", params)]
        keys = {"CreationTime": "CreationTime", "Name": "ModelPackageGroupName"}
        shown, more = page(ordered(found, params, keys, "Ascending"), params, PAGE)
        summaries = [{m: d[m] for m in GROUP_SUMMARY if m in d} for d in shown]
        return {"ModelPackageGroupSummaryList": summaries, **more}

    def delete_group(self, params: dict) -> dict:
        """DeleteModelPackageGroup; refused while there are packages in it."""
        with self._lock:
            name = _name(self._group(params))
            if versions := len(self._packages(name)):
                raise AwsError(
                    "ConflictException",
                    f"Model Package Group {name} has {versions} versions: delete them first.",
                )
            self._store.delete(GROUP, name)
        return {}

    def create(self, params: dict) -> dict:
        """CreateModelPackage, in a group; the same ClientToken again is no second version."""
        if "ModelPackageGroupName" not in params:
            raise validation("localcloud keeps model packages in groups only: give ModelPackageGroupName")
        if params.get("Tags"):
            raise validation("Tags belong to the model package group, and not to its versions")
        check("CreateModelPackage", params, None, CREATED)
        with self._lock:
            group = self._group(params)
            name = _name(group)
            for package in self._packages(name):
                if params.get("ClientToken") is not None and package["ClientToken"] == params["ClientToken"]:
                    return {"ModelPackageArn": package["ModelPackageArn"]}
            version = group["LastVersion"] + 1
            arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{PACKAGE}/{name}/{version}"
            self._store.update(GROUP, name, LastVersion=version)
            self._store.put(PACKAGE, arn, {
                "ModelApprovalStatus": "PendingManualApproval",
                "ClientToken": None,
                **params,
                "ModelPackageGroupName": name,
                "ModelPackageVersion": version,
                "ModelPackageArn": arn,
                "ModelPackageStatus": "Completed",
                "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
                "CreationTime": time.time(),
            })  # fmt: skip
        return {"ModelPackageArn": arn}

    def describe(self, params: dict) -> dict:
        package = self._package(params.get("ModelPackageName", ""))
        return {member: value for member, value in package.items() if member != "ClientToken"}

    def update(self, params: dict) -> dict:
        """UpdateModelPackage: what is not given stays; metadata is merged into what is there."""
        check("UpdateModelPackage", params)
        with self._lock:
            package = self._package(params["ModelPackageArn"])
            arn = package["ModelPackageArn"]
            metadata = {
                **package.get("CustomerMetadataProperties", {}),
                **params.get("CustomerMetadataProperties", {}),
            }
            for key in params.get("CustomerMetadataPropertiesToRemove", []):
                metadata.pop(key, None)
            specifications = [
                *package.get("AdditionalInferenceSpecifications", []),
                *params.get("AdditionalInferenceSpecificationsToAdd", []),
            ]
            self._store.update(
                PACKAGE,
                arn,
                **{member: params[member] for member in REPLACED if member in params},
                **({"CustomerMetadataProperties": metadata} if metadata else {}),
                **({"AdditionalInferenceSpecifications": specifications} if specifications else {}),
                LastModifiedTime=time.time(),
            )
        return {"ModelPackageArn": arn}

    def list_versions(self, params: dict) -> dict:
        """ListModelPackages: a group's versions; those of all groups if ModelPackageType says so."""
        check("ListModelPackages", params)
        group = params.get("ModelPackageGroupName")
        if group is None and params.get("ModelPackageType", "Unversioned") == "Unversioned":
            return {"ModelPackageSummaryList": []}
        packages = self._store.all(PACKAGE) if group is None else self._packages(_name(self._group(params)))
        found = [
            d
            for d in packages
            if _matches(d, "ModelPackageGroupName", params)
            and params.get("ModelApprovalStatus") in (None, d["ModelApprovalStatus"])
        ]
        keys = {"CreationTime": "CreationTime", "Name": "ModelPackageGroupName"}
        shown, more = page(ordered(found, params, keys, "Ascending"), params, PAGE)
        summaries = [{m: d[m] for m in PACKAGE_SUMMARY if m in d} for d in shown]
        return {"ModelPackageSummaryList": summaries, **more}

    def delete(self, params: dict) -> dict:
        package = self._package(params.get("ModelPackageName", ""))
        self._store.delete(PACKAGE, package["ModelPackageArn"])
        return {}

    def _group(self, params: dict) -> dict:
        """By name or ARN."""
        name = params.get("ModelPackageGroupName", "").rpartition("/")[2]
        group = self._store.get(GROUP, name)
        if group is None:
            raise validation(f"Model Package Group {name} does not exist.")
        return group

    def _package(self, arn: str) -> dict:
        package = self._store.get(PACKAGE, arn)
        if package is None:
            raise validation(f"ModelPackage {arn} does not exist.")
        return package

    def _packages(self, group: str) -> list[dict]:
        return [d for d in self._store.all(PACKAGE) if d["ModelPackageGroupName"] == group]


def _name(group: dict) -> str:
    return group["ModelPackageGroupName"]


def _matches(document: dict, name: str, params: dict) -> bool:
    return (params.get("NameContains") or "").lower() in document[name].lower() and created_within(
        document, params.get("CreationTimeAfter"), params.get("CreationTimeBefore")
    )
